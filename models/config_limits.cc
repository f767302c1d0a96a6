#include "models/config_limits.h"

#include <limits>
#include <string_view>

#include "comm/error.h"

namespace kvfold {
namespace {

void CheckRange(const std::string& file, std::string_view field, int64_t value, int64_t least,
                int64_t most) {
  if (value < least || value > most) {
    throw InputError(
        fmt::format("{}: {} is {}, expected {} to {}", file, field, value, least, most));
  }
}

void CheckPositive(const std::string& file, std::string_view field, double value) {
  // Positive also as the float that it will be computed in.
  if (!(value > 0 && value <= std::numeric_limits<float>::max()) ||
      static_cast<float>(value) == 0) {
    throw InputError(
        fmt::format("{}: {} is {}, expected a positive number within float32", file, field, value));
  }
}

void CheckRope(const RopeConfig& rope, int64_t head_dim, const std::string& file) {
  CheckPositive(file, "rope_theta", rope.theta);
  switch (rope.scaling) {
    case RopeConfig::Scaling::kNone:
      break;
    case RopeConfig::Scaling::kLlama3:
      CheckPositive(file, "RoPE low_freq_factor", rope.low_freq_factor);
      CheckPositive(file, "RoPE high_freq_factor", rope.high_freq_factor);
      CheckRange(file, "RoPE original_max_position_embeddings", rope.original_max_positions, 1,
                 int64_t{1} << 40);
      if (!(rope.high_freq_factor > rope.low_freq_factor)) {
        throw InputError(
            fmt::format("{}: RoPE high_freq_factor is {}, expected more than low_freq_factor, {}",
                        file, rope.high_freq_factor, rope.low_freq_factor));
      }
      [[fallthrough]];
    case RopeConfig::Scaling::kLinear:
      CheckPositive(file, "RoPE factor", rope.factor);
      break;
    case RopeConfig::Scaling::kFactors:
      if (static_cast<int64_t>(rope.freq_factors.size()) != head_dim / 2) {
        throw InputError(fmt::format("{}: rope_freqs.weight has {} elements, expected {}", file,
                                     rope.freq_factors.size(), head_dim / 2));
      }
      for (const float factor : rope.freq_factors) {
        CheckPositive(file, "an element of rope_freqs.weight", factor);
      }
      break;
  }
}

}  // namespace

void CheckModelConfig(const ModelConfig& config, const std::string& file) {
  CheckRange(file, "num_hidden_layers", config.n_layers, 1, 1 << 12);
  CheckRange(file, "hidden_size", config.hidden, 1, 1 << 20);
  CheckRange(file, "num_attention_heads", config.n_heads, 1, 1 << 10);
  CheckRange(file, "num_key_value_heads", config.n_kv_heads, 1, config.n_heads);
  if (config.n_heads % config.n_kv_heads != 0) {
    throw InputError(fmt::format("{}: num_key_value_heads is {}, expected a divisor of {} heads",
                                 file, config.n_kv_heads, config.n_heads));
  }
  CheckRange(file, "head_dim", config.head_dim, 2, 1 << 12);
  if (config.head_dim % 2 != 0) {
    throw InputError(
        fmt::format("{}: head_dim is {}, expected an even number", file, config.head_dim));
  }
  CheckRange(file, "intermediate_size", config.ffn_dim, 1, 1 << 24);
  CheckRange(file, "vocab_size", config.vocab_size, 1, 1 << 24);
  CheckRange(file, "max_position_embeddings", config.max_positions, 1, int64_t{1} << 40);
  CheckPositive(file, "rms_norm_eps", config.rms_eps);
  if (static_cast<int64_t>(config.layer_windows.size()) != config.n_layers) {
    throw InputError(fmt::format("{}: layer_types has {} layers, expected {}", file,
                                 config.layer_windows.size(), config.n_layers));
  }
  for (const int64_t window : config.layer_windows) {
    CheckRange(file, "sliding_window", window, 0, int64_t{1} << 40);
  }
  CheckRange(file, "bos_token_id", config.bos_id, -1, config.vocab_size - 1);
  for (const int64_t id : config.eos_ids) {
    CheckRange(file, "eos_token_id", id, 0, config.vocab_size - 1);
  }
  CheckRope(config.rope, config.head_dim, file);
}

}  // namespace kvfold
