// Every switch of every family does something, and what transformers does with it: each entry of a
// fixture's switches.json is flipped here too, and the logits must move by as much as transformers'
// own moved.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/fixture.h"
#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;

// The least that a flip must move some logit by; two correct passes differ by 1e-4 at most.
constexpr double kLeastMove = 1e-2;

RopeConfig::Scaling ScalingOf(const std::string& name) {
  if (name == "none") return RopeConfig::Scaling::kNone;
  if (name == "linear") return RopeConfig::Scaling::kLinear;
  if (name == "llama3") return RopeConfig::Scaling::kLlama3;
  throw std::runtime_error("unknown RoPE scaling " + name);
}

void SetField(ModelConfig& config, const std::string& field, const Json& value) {
  if (field == "rope.scaling") {
    config.ropes.front().scaling = ScalingOf(value);
    if (config.ropes.front().scaling == RopeConfig::Scaling::kNone)
      config.ropes.front().factor = 1.0;
  } else if (field == "rope.factor") {
    config.ropes.front().factor = value;
  } else if (field == "rope.low_freq_factor") {
    config.ropes.front().low_freq_factor = value;
  } else if (field == "rope.high_freq_factor") {
    config.ropes.front().high_freq_factor = value;
  } else if (field == "rope.original_max_positions") {
    config.ropes.front().original_max_positions = value;
  } else if (field == "local_rope.theta") {
    config.ropes.at(1).theta = value;
  } else if (field == "rope.theta") {
    config.ropes.front().theta = value;
  } else if (field == "rms_eps") {
    config.rms_eps = value;
  } else if (field == "n_heads") {
    config.n_heads = value;
  } else if (field == "n_kv_heads") {
    config.n_kv_heads = value;
  } else if (field == "head_dim") {
    config.head_dim = value;
  } else if (field == "tie_embeddings") {
    config.tie_embeddings = value;
  } else if (field == "qk_norm") {
    SetEvery(config, &LayerSpec::qk_norm, value.get<bool>());
  } else if (field == "qkv_bias") {
    SetEvery(config, &LayerSpec::qkv_bias, value.get<bool>());
  } else if (field == "post_norms") {
    SetEvery(config, &LayerSpec::post_norms, value.get<bool>());
  } else if (field == "norm_offset") {
    config.norm_offset = value;
  } else if (field == "embedding_scale") {
    config.embedding_scale = value;
  } else if (field == "attention_scale") {
    config.attention_scale = value.get<double>();
  } else if (field == "score_cap") {
    config.score_cap = value;
  } else if (field == "logit_cap") {
    config.logit_cap = value;
  } else if (field == "activation") {
    config.activation = value == "silu" ? Activation::kSilu : Activation::kGeluTanh;
  } else if (field == "layer_windows") {
    SetWindows(config, value.get<std::vector<int64_t>>());
    if (config.ropes.size() > 1) {  // the second is that of layers that slide
      for (LayerSpec& layer : config.layers) layer.rope = layer.window > 0 ? 1 : 0;
    }
  } else {
    throw std::runtime_error("unknown field " + field);
  }
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) throw std::runtime_error("logits of different sizes");
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // NaN stays
  }
  return largest;
}

class SwitchTest : public testing::TestWithParam<const char*> {};

TEST_P(SwitchTest, MovesLogitsAsItMovesTransformers) {
  const auto model = FixtureModel(GetParam());
  const std::vector<TokenId> tokens = ReadTokens(model / "reference" / "tokens.json");
  const std::vector<float> reference = ReadNpy<float>(model / "reference" / "logits.npy");
  const auto checkpoint = Checkpoint::Open(model);
  const Json switches = ReadJson(model / "reference" / "switches.json");
  ASSERT_FALSE(switches.empty());
  for (const Json& entry : switches) {
    const auto name = entry.at("switch").get<std::string>();
    const auto moved = entry.at("moved").get<double>();
    // `moved` has four digits; either side's passes are within 1e-4 of transformers'.
    const double tolerance = 5e-4 * moved + 2e-4;
    int flips = 0;
    const auto expect_moved = [&](const std::vector<float>& got, const char* how) {
      ++flips;
      const double largest = LargestDifference(got, reference);
      EXPECT_GE(largest, kLeastMove) << name << " by " << how;
      EXPECT_NEAR(largest, moved, tolerance) << name << " by " << how;
    };
    if (entry.contains("model_config")) {
      ModelConfig config = ReadModelConfig(model);
      for (const auto& [field, value] : entry.at("model_config").items())
        SetField(config, field, value);
      expect_moved(LocalLogits(model, tokens, {.config = config}), "model_config");
    }
    if (entry.contains("weights")) {
      const auto weights = entry.at("weights").get<std::string>();
      const size_t colon = weights.find(':');
      const std::string value = weights.substr(0, colon);
      ASSERT_TRUE(value == "one" || value == "zero") << weights;
      const ConstantTensors flipped(*checkpoint, weights.substr(colon + 1),
                                    value == "one" ? 1.0f : 0.0f);
      expect_moved(LocalLogits(model, tokens, {.checkpoint = &flipped}), "weights");
    }
    if (entry.contains("attention_scale")) {
      ModelConfig config = ReadModelConfig(model);
      config.attention_scale = entry.at("attention_scale").get<double>();
      expect_moved(LocalLogits(model, tokens, {.config = config}), "attention_scale");
    }
    EXPECT_GT(flips, 0) << name << " is flipped by nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SwitchTest,
                         testing::Values("llama_gqa", "llama_9_3", "llama31_rope",
                                         "llama_linear_rope", "llama_tied", "llama_hd64",
                                         "llama_hd128", "llama_hd_other", "mistral_window",
                                         "mistral_full", "qwen2", "qwen2_mixed_window", "qwen3",
                                         "gemma2", "gemma2_hd32", "gemma3", "gemma3_period6"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace kvfold
