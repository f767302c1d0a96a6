#include "models/config_limits.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "comm/error.h"

namespace kvfold {
namespace {

[[noreturn]] void Refuse(const Origin& origin, std::string_view found, std::string_view expected) {
  throw InputError(fmt::format("{}: {} {}, expected {}", origin.file, origin.key, found, expected));
}

void CheckRange(const Origin& origin, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    Refuse(origin, fmt::format("is {}", value), fmt::format("{} to {}", least, most));
  }
}

void CheckPositive(const Origin& origin, double value) {
  // Positive also as the float that it will be computed in.
  if (!(value > 0 && value <= std::numeric_limits<float>::max()) ||
      static_cast<float>(value) == 0) {
    Refuse(origin, fmt::format("is {}", value), "a positive number within float32");
  }
}

void CheckRope(const RopeConfig& rope, int64_t head_dim, const ConfigOrigins& origins) {
  CheckPositive(origins.theta, rope.theta);
  switch (rope.scaling) {
    case RopeConfig::Scaling::kNone:
      break;
    case RopeConfig::Scaling::kLlama3:
      CheckPositive(origins.low_freq_factor, rope.low_freq_factor);
      CheckPositive(origins.high_freq_factor, rope.high_freq_factor);
      CheckRange(origins.original_max_positions, rope.original_max_positions, 1, int64_t{1} << 40);
      if (!(rope.high_freq_factor > rope.low_freq_factor)) {
        Refuse(origins.high_freq_factor, fmt::format("is {}", rope.high_freq_factor),
               fmt::format("more than {}, {}", origins.low_freq_factor.key, rope.low_freq_factor));
      }
      [[fallthrough]];
    case RopeConfig::Scaling::kLinear:
      CheckPositive(origins.factor, rope.factor);
      break;
    case RopeConfig::Scaling::kFactors:
      if (static_cast<int64_t>(rope.freq_factors.size()) != head_dim / 2) {
        Refuse(origins.freq_factors, fmt::format("has {} elements", rope.freq_factors.size()),
               fmt::format("{}", head_dim / 2));
      }
      for (size_t i = 0; i < rope.freq_factors.size(); ++i) {
        CheckPositive(
            {origins.freq_factors.file, fmt::format("{}[{}]", origins.freq_factors.key, i)},
            rope.freq_factors[i]);
      }
      break;
  }
}

}  // namespace

void CheckModelConfig(const ModelConfig& config, const ConfigOrigins& origins) {
  CheckRange(origins.n_layers, config.n_layers(), 1, 1 << 12);
  CheckRange(origins.hidden, config.hidden, 1, 1 << 20);
  CheckRange(origins.n_heads, config.n_heads, 1, 1 << 10);
  CheckRange(origins.n_kv_heads, config.n_kv_heads, 1, config.n_heads);
  if (config.n_heads % config.n_kv_heads != 0) {
    Refuse(origins.n_kv_heads, fmt::format("is {}", config.n_kv_heads),
           fmt::format("a divisor of {} heads", config.n_heads));
  }
  CheckRange(origins.head_dim, config.head_dim, 2, 1 << 12);
  if (config.head_dim % 2 != 0) {
    Refuse(origins.head_dim, fmt::format("is {}", config.head_dim), "an even number");
  }
  CheckRange(origins.ffn_dim, config.ffn_dim, 1, 1 << 24);
  CheckRange(origins.vocab_size, config.vocab_size, 1, 1 << 24);
  CheckRange(origins.max_positions, config.max_positions, 1, int64_t{1} << 40);
  CheckPositive(origins.rms_eps, config.rms_eps);
  if (config.attention_scale.has_value()) {
    CheckPositive(origins.attention_scale, *config.attention_scale);
  }
  if (config.score_cap != 0.0) CheckPositive(origins.score_cap, config.score_cap);
  if (config.logit_cap != 0.0) CheckPositive(origins.logit_cap, config.logit_cap);
  for (const LayerSpec& layer : config.layers) {
    CheckRange(origins.window, layer.window, 0, int64_t{1} << 40);
  }
  for (const RopeConfig& rope : config.ropes) CheckRope(rope, config.head_dim, origins);
}

std::vector<int64_t> ProducibleIds(const std::vector<int64_t>& ids, const Origin& origin,
                                   int64_t vocab_size) {
  std::vector<int64_t> producible;
  std::vector<int64_t> beyond;
  for (const int64_t id : ids) {
    if (id == -1 || id == 0xFFFFFFFF) continue;
    (id >= 0 && id < vocab_size ? producible : beyond).push_back(id);
  }
  if (!beyond.empty()) {
    constexpr size_t kMostListed = 8;
    const auto listed = std::span(beyond).first(std::min(beyond.size(), kMostListed));
    spdlog::warn(
        "{}: {} is {}{}, beyond the vocabulary of {} tokens: left out, as the model cannot "
        "produce {}",
        origin.file, origin.key, fmt::join(listed, ", "),
        beyond.size() > kMostListed ? " and more" : "", vocab_size,
        beyond.size() == 1 ? "it" : "them");
  }
  return producible;
}

void AddEosIds(const std::vector<int64_t>& ids, const Origin& origin, ModelConfig* config) {
  for (const int64_t id : ProducibleIds(ids, origin, config->vocab_size)) {
    if (std::ranges::find(config->eos_ids, id) == config->eos_ids.end()) {
      config->eos_ids.push_back(id);
    }
  }
}

}  // namespace kvfold
