// ModelConfig from config.json: what is read, what is refused, and that each switch is seen; and
// the shipped ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <nlohmann/json.hpp>

#include "models/families.h"
#include "models/model_config.h"
#include "models/tensor_table.h"
#include "tests/models/captured_log.h"
#include "tests/models/error_of.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

json Base(const std::string& family) {
  json base = json::parse(R"({
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 160, "vocab_size": 256, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 20000.0, "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16", "transformers_version": "4.40"
  })");
  base["model_type"] = family;
  base["architectures"] = {FindFamily(family)->architecture};
  if (family == "mistral") base["sliding_window"] = nullptr;
  return base;
}

class JsonConfig : public testing::Test {
 protected:
  ModelConfig Read(const json& config, const ConfigOptions& options = {}) {
    folder_.Write("config.json", config.dump());
    return ReadModelConfig(folder_.path(), options);
  }
  // Merged into the base of `family`: the config, and the message it is refused with.
  ModelConfig With(const std::string& family, const std::string& changes) {
    json config = Base(family);
    config.update(json::parse(changes));
    return Read(config);
  }
  std::string Error(const std::string& family, const std::string& changes) {
    return ErrorOf([&] { With(family, changes); });
  }
  TempFolder folder_;
};

TEST_F(JsonConfig, ReadsLlama) {
  const ModelConfig config = Read(Base("llama"));
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.n_layers(), 4);
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.n_heads, 8);
  EXPECT_EQ(config.n_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.ffn_dim, 160);
  EXPECT_EQ(config.vocab_size, 256);
  EXPECT_EQ(config.max_positions, 2048);
  EXPECT_EQ(config.rms_eps, 1e-5);
  EXPECT_EQ(config.ropes.front().theta, 20000.0);
  EXPECT_EQ(config.ropes.front().scaling, RopeConfig::Scaling::kNone);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_FALSE(config.layer(0).qkv_bias);
  EXPECT_THAT(config.windows(), ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_THAT(config.eos_ids, ElementsAre(2));
  EXPECT_EQ(ReadModelConfig(folder_.path() / "config.json"), config);
}

TEST_F(JsonConfig, ReadsGemma2) {
  const std::string shape = R"("head_dim": 24, "num_key_value_heads": 2)";
  const ModelConfig config = With("gemma2", "{" + shape + R"(, "sliding_window": 9})");
  EXPECT_THAT(config.windows(), ElementsAre(9, 0, 9, 0));
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_TRUE(config.layer(0).post_norms);
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_EQ(config.norm_offset, 1.0);
  EXPECT_EQ(config.embedding_scale, 8.0);
  EXPECT_EQ(config.softmax_scale(), 1.0 / 16);
  EXPECT_EQ(config.score_cap, 50.0);
  EXPECT_EQ(config.logit_cap, 30.0);
  const ModelConfig stated = With("gemma2", "{" + shape + R"(, "query_pre_attn_scalar": 64,
      "attn_logit_softcapping": null, "final_logit_softcapping": 7, "hidden_act": "gelu",
      "tie_word_embeddings": false, "layer_types": ["full_attention", "sliding_attention",
      "full_attention", "full_attention"], "cache_implementation": "hybrid",
      "use_bidirectional_attention": null})");
  EXPECT_EQ(stated.softmax_scale(), 1.0 / 8);
  EXPECT_EQ(stated.score_cap, 0.0);
  EXPECT_EQ(stated.logit_cap, 7.0);
  EXPECT_FALSE(stated.tie_embeddings);
  EXPECT_THAT(stated.windows(), ElementsAre(0, 4096, 0, 0));
  EXPECT_THAT(Error("gemma2", "{}"), HasSubstr("head_dim"));
  EXPECT_THAT(Error("gemma2", "{" + shape + R"(, "hidden_activation": "gelu"})"),
              HasSubstr("hidden_activation is \"gelu\", expected \"gelu_pytorch_tanh\""));
  EXPECT_THAT(Error("gemma2", "{" + shape + R"(, "query_pre_attn_scalar": 0})"),
              HasSubstr("1 / sqrt(query_pre_attn_scalar) is inf"));
  EXPECT_THAT(Error("gemma2", "{" + shape + R"(, "attn_logit_softcapping": -5})"),
              HasSubstr("attn_logit_softcapping is -5"));
  EXPECT_THAT(Error("llama", R"({"attn_logit_softcapping": 50})"),
              HasSubstr("attn_logit_softcapping"));
}

// Its layers that slide turn by a RoPE of their own; both spellings.
TEST_F(JsonConfig, ReadsGemma3) {
  const std::string shape = R"("head_dim": 24, "rope_theta": null, "sliding_window": 9)";
  const ModelConfig config = With("gemma3_text", "{" + shape + R"(, "rope_local_base_freq": 5000,
      "rope_scaling": {"rope_type": "linear", "factor": 8}, "sliding_window_pattern": 4})");
  EXPECT_THAT(config.windows(), ElementsAre(9, 9, 9, 0));
  EXPECT_TRUE(config.layer(3).qk_norm && config.layer(3).post_norms);
  EXPECT_EQ(config.score_cap, 0.0);
  EXPECT_EQ(config.logit_cap, 0.0);
  ASSERT_EQ(config.ropes.size(), 2u);
  EXPECT_EQ(config.ropes[0].theta, 1e6);
  EXPECT_EQ(config.ropes[0].factor, 8.0);
  EXPECT_EQ(config.ropes[1], RopeConfig{.theta = 5000.0});
  EXPECT_EQ(config.layer(0).rope, 1);
  EXPECT_EQ(config.layer(3).rope, 0);

  const ModelConfig by_type = With("gemma3_text", "{" + shape + R"(, "rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 2000000},
      "sliding_attention": {"rope_type": "default"}}})");
  EXPECT_THAT(by_type.windows(), ElementsAre(9, 9, 9, 9));  // the sixth would see all
  EXPECT_EQ(by_type.ropes[0].theta, 2e6);
  EXPECT_EQ(by_type.ropes[0].scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(by_type.ropes[1], RopeConfig{});

  EXPECT_THAT(Error("gemma3_text", "{" + shape + R"(, "attn_logit_softcapping": 50})"),
              HasSubstr("attn_logit_softcapping"));
  EXPECT_THAT(Error("gemma3_text", "{" + shape + R"(, "sliding_window_pattern": 0})"),
              HasSubstr("sliding_window_pattern is 0, expected a positive integer"));
  EXPECT_THAT(Error("gemma3_text", "{" + shape + R"(, "rope_parameters": {
      "sliding_attention": {"rope_type": "yarn"}, "full_attention": {}}})"),
              HasSubstr("rope_parameters.sliding_attention.rope_type is \"yarn\""));
  EXPECT_THAT(Error("gemma3_text", "{" + shape + R"(, "rope_parameters": {
      "chunked_attention": {}, "full_attention": {"rope_type": "default"}, "x": 1}})"),
              HasSubstr("rope_parameters.x"));
}

TEST_F(JsonConfig, ReadsSwitches) {
  EXPECT_TRUE(With("llama", R"({"tie_word_embeddings": true})").tie_embeddings);
  EXPECT_TRUE(With("qwen2", "{}").layer(0).qkv_bias);
  EXPECT_FALSE(With("qwen2", "{}").layer(0).qk_norm);
  const ModelConfig qwen3 = With("qwen3", R"({"head_dim": 24, "attention_bias": false})");
  EXPECT_TRUE(qwen3.layer(0).qk_norm);
  EXPECT_FALSE(qwen3.layer(0).qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 24);
  EXPECT_EQ(With("llama", R"({"head_dim": 24})").head_dim, 24);
  EXPECT_EQ(With("llama", R"({"head_dim": null})").head_dim, 8);
  EXPECT_EQ(With("llama", R"({"num_key_value_heads": null})").n_kv_heads, 8);
  json config = Base("llama");
  config.erase("num_key_value_heads");
  EXPECT_EQ(Read(config).n_kv_heads, 8);
  config.erase("model_type");
  EXPECT_EQ(Read(config).architecture, "llama");
}

// Both spellings, and both names of the type.
TEST_F(JsonConfig, ReadsRope) {
  const RopeConfig linear =
      With("llama", R"({"rope_scaling": {"type": "linear", "factor": 4}})").ropes.front();
  EXPECT_EQ(linear.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(linear.factor, 4.0);
  EXPECT_EQ(linear.theta, 20000.0);
  json config = Base("llama");
  config.erase("rope_theta");
  EXPECT_EQ(Read(config).ropes.front().theta, 10000.0);
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 4}, {"rope_theta", 20000}};
  EXPECT_EQ(Read(config).ropes.front(), linear);

  const std::string settings = R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0)";
  const RopeConfig llama3 =
      With("llama", R"({"rope_scaling": {"rope_type": "llama3", )" + settings +
                        R"(, "original_max_position_embeddings": 64}})")
          .ropes.front();
  EXPECT_EQ(llama3.scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(llama3.factor, 8.0);
  EXPECT_EQ(llama3.low_freq_factor, 1.0);
  EXPECT_EQ(llama3.high_freq_factor, 4.0);
  EXPECT_EQ(llama3.original_max_positions, 64);
  const RopeConfig by_default =
      With("llama", R"({"rope_parameters": {"rope_type": "llama3", )" + settings + "}}")
          .ropes.front();
  EXPECT_EQ(by_default.original_max_positions, 2048);
  EXPECT_EQ(With("llama", R"({"rope_parameters": {"rope_type": "default"}})").ropes.front().theta,
            20000.0);
}

TEST_F(JsonConfig, RefusesRope) {
  const auto scaling = [&](const std::string& fields) {
    return Error("llama", R"({"rope_scaling": {)" + fields + "}}");
  };
  EXPECT_THAT(scaling(R"("type": "yarn", "factor": 4)"),
              HasSubstr("rope_scaling.type is \"yarn\""));
  EXPECT_THAT(scaling(R"("rope_type": "dynamic")"), HasSubstr("rope_scaling.rope_type is"));
  EXPECT_THAT(scaling(R"("type": "linear")"), HasSubstr("rope_scaling.factor is missing"));
  EXPECT_THAT(scaling(R"("type": "linear", "factor": 0)"), HasSubstr("rope_scaling.factor is 0"));
  EXPECT_THAT(scaling(R"("type": "linear", "factor": "4")"), HasSubstr("expected a finite number"));
  EXPECT_THAT(scaling(R"("type": "linear", "factor": 2, "attention_factor": 2)"),
              HasSubstr("\"rope_scaling.attention_factor\" is 2, which is not supported"));
  EXPECT_THAT(scaling(R"("type": "linear", "rope_type": "llama3", "factor": 2)"),
              HasSubstr("the same as rope_type"));
  EXPECT_THAT(scaling(R"("rope_theta": 5)"), HasSubstr("rope_scaling.rope_theta is 5"));
  EXPECT_THAT(scaling(R"("partial_rotary_factor": 0.5)"),
              HasSubstr("partial_rotary_factor is 0.5"));
  EXPECT_THAT(scaling(R"("rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                         "high_freq_factor": 4)"),
              HasSubstr("expected more than rope_scaling.low_freq_factor"));
  EXPECT_THAT(Error("llama", R"({"rope_scaling": {"type": "default"},
                                 "rope_parameters": {"rope_type": "default"}})"),
              HasSubstr("rope_parameters is given too"));
  EXPECT_THAT(Error("llama", R"({"rope_theta": -1})"), HasSubstr("rope_theta is -1"));
  EXPECT_THAT(Error("llama", R"({"rope_theta": 1e300})"), HasSubstr("within float32"));
  EXPECT_THAT(Error("llama", R"({"rope_scaling": 4})"), HasSubstr("rope_scaling is 4"));
}

TEST_F(JsonConfig, WindowsOfMistral) {
  EXPECT_THAT(With("mistral", "{}").windows(), Each(0));
  EXPECT_THAT(With("mistral", R"({"sliding_window": 9})").windows(), ElementsAre(9, 9, 9, 9));
  // transformers' Mistral has no such switch.
  EXPECT_THAT(With("mistral", R"({"sliding_window": 9, "use_sliding_window": false})").windows(),
              Each(9));
  EXPECT_THAT(With("mistral", R"({"use_sliding_window": false})").windows(), Each(0));
  json config = Base("mistral");
  config.erase("sliding_window");  // transformers' default
  EXPECT_THAT(Read(config).windows(), Each(4096));
  EXPECT_THAT(Error("mistral", R"({"sliding_window": 0})"), HasSubstr("sliding_window is 0"));
  EXPECT_THAT(Error("mistral", R"({"sliding_window": -1})"), HasSubstr("sliding_window is -1"));
  EXPECT_THAT(Error("mistral", R"({"sliding_window": 9, "layer_types":
      ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]})"),
              HasSubstr("layer_types"));
  EXPECT_THAT(Error("llama", R"({"sliding_window": 9})"), HasSubstr("not supported"));
}

TEST_F(JsonConfig, Qwen3SlidesAsQwen2AndStatesItsHeadDim) {
  EXPECT_THAT(With("qwen3", R"({"head_dim": 8, "use_sliding_window": true, "sliding_window": 9,
                                "max_window_layers": 1})")
                  .windows(),
              ElementsAre(0, 9, 9, 9));
  // transformers would take 128 for it.
  EXPECT_THAT(Error("qwen3", "{}"), HasSubstr("head_dim"));
  EXPECT_THAT(Error("qwen3", R"({"head_dim": 8, "attention_bias": true})"),
              HasSubstr("attention_bias"));
}

TEST_F(JsonConfig, WindowsOfQwen2) {
  EXPECT_THAT(With("qwen2", R"({"sliding_window": 9, "max_window_layers": 1})").windows(), Each(0));
  EXPECT_THAT(With("qwen2", R"({"sliding_window": 9, "max_window_layers": 1,
                                "use_sliding_window": false})")
                  .windows(),
              Each(0));
  const std::string slides = R"("use_sliding_window": true, "sliding_window": 9)";
  EXPECT_THAT(With("qwen2", "{" + slides + R"(, "max_window_layers": 1})").windows(),
              ElementsAre(0, 9, 9, 9));
  EXPECT_THAT(With("qwen2", "{" + slides + R"(, "max_window_layers": 4})").windows(), Each(0));
  EXPECT_THAT(With("qwen2", "{" + slides + R"(, "max_window_layers": 0})").windows(), Each(9));
  EXPECT_THAT(With("qwen2", "{" + slides + "}").windows(), Each(0));  // from layer 28
  EXPECT_THAT(With("qwen2", "{" + slides + R"(, "max_window_layers": 0, "layer_types":
      ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]})")
                  .windows(),
              ElementsAre(9, 0, 0, 9));
  EXPECT_THAT(Error("qwen2", R"({"layer_types": ["full_attention"]})"),
              HasSubstr("one entry for each of 4 layers"));
  EXPECT_THAT(Error("qwen2", "{" + slides + R"(, "layer_types": ["a", "b", "c", "d"]})"),
              HasSubstr("layer_types"));
  EXPECT_THAT(Error("qwen2", R"({"layer_types": ["sliding_attention", "full_attention",
                                 "full_attention", "full_attention"]})"),
              HasSubstr("no sliding window"));
}

TEST_F(JsonConfig, RefusesBySwitch) {
  const std::pair<const char*, const char*> switches[] = {
      {R"({"attention_bias": true})", "\"attention_bias\" is true, which is not supported"},
      {R"({"mlp_bias": true})", "\"mlp_bias\" is true"},
      {R"({"hidden_act": "gelu"})", "hidden_act is \"gelu\", expected \"silu\""},
      {R"({"pretraining_tp": 2})", "pretraining_tp is 2, expected 1"},
      {R"({"quantization_config": {"bits": 4}})", "\"quantization_config\" is {\"bits\":4}"},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor is 0.5, expected 1"},
      {R"({"num_local_experts": 8})", "\"num_local_experts\" is 8"},
      {R"({"a key\n": 1})", "\"a key\\n\" is 1"},
      {R"({"model_type": "gemma"})",
       "model_type is \"gemma\", expected llama, mistral, qwen2, qwen3, gemma2 or gemma3_text"},
      {R"({"model_type": "mistral"})", "architectures is [\"LlamaForCausalLM\"]"},
      {R"({"architectures": ["LlamaForSequenceClassification"]})", "architectures is"},
  };
  for (const auto& [changes, message] : switches) {
    EXPECT_THAT(Error("llama", changes), HasSubstr(message)) << changes;
    EXPECT_THAT(Error("llama", changes), HasSubstr("config.json")) << changes;
  }
  for (const char* harmless :
       {R"({"attention_bias": false})", R"({"quantization_config": null})",
        R"({"pretraining_tp": 1})", R"({"partial_rotary_factor": 1.0})", R"({"use_cache": true})",
        R"({"transformers.js_config": {"kv_cache_dtype": {}}})", R"({"hidden_act": "swish"})"}) {
    EXPECT_EQ(Error("llama", harmless), "") << harmless;
  }
}

TEST_F(JsonConfig, IgnoresWhatItIsToldTo) {
  json config = Base("llama");
  config["attention_bias"] = true;
  config["pretraining_tp"] = 2;
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2}, {"odd", 1}};
  EXPECT_NO_THROW(
      Read(config, {.ignored_keys = {"attention_bias", "pretraining_tp", "rope_scaling.odd"}}));
  EXPECT_THROW(Read(config, {.ignored_keys = {"attention_bias", "pretraining_tp"}}), InputError);
}

TEST_F(JsonConfig, RefusesShapesOutOfRange) {
  const std::pair<const char*, const char*> shapes[] = {
      {R"({"hidden_size": 0})", "hidden_size is 0"},
      {R"({"hidden_size": -64})", "hidden_size is -64"},
      {R"({"hidden_size": 63})", "a multiple of 8 heads"},
      {R"({"hidden_size": 64.0})", "expected an integer"},
      {R"({"hidden_size": "64"})", "expected an integer"},
      {R"({"hidden_size": null})", "hidden_size is null, expected an integer"},
      {R"({"hidden_size": 18446744073709551615})", "expected an integer"},
      {R"({"hidden_size": 9223372036854775800})", "hidden_size is 9223372036854775800"},
      {R"({"num_hidden_layers": 0})", "num_hidden_layers is 0"},
      {R"({"num_hidden_layers": 1000000000000})", "num_hidden_layers is 1000000000000"},
      {R"({"num_attention_heads": 0})", "num_attention_heads is 0"},
      {R"({"num_key_value_heads": 0})", "num_key_value_heads is 0"},
      {R"({"num_key_value_heads": 3})", "a divisor of 8 heads"},
      {R"({"num_key_value_heads": 16})", "num_key_value_heads is 16"},
      {R"({"head_dim": 7})", "head_dim is 7, expected an even number"},
      {R"({"head_dim": 0})", "head_dim is 0"},
      {R"({"intermediate_size": 0})", "intermediate_size is 0"},
      {R"({"vocab_size": 0})", "vocab_size is 0"},
      {R"({"vocab_size": 1000000000})", "vocab_size is 1000000000"},
      {R"({"max_position_embeddings": 0})", "max_position_embeddings is 0"},
      {R"({"rms_norm_eps": 0})", "rms_norm_eps is 0"},
      {R"({"rms_norm_eps": "x"})", "expected a finite number"},
      {R"({"eos_token_id": "</s>"})", "an integer or a list of integers"},
      {R"({"tie_word_embeddings": 1})", "expected true or false"},
  };
  for (const auto& [changes, message] : shapes) {
    EXPECT_THAT(Error("llama", changes), HasSubstr(message)) << changes;
  }
  EXPECT_EQ(Error("llama", R"({"vocab_size": 3})"), "");
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "vocab_size"}) {
    json config = Base("llama");
    config.erase(key);
    EXPECT_THAT(ErrorOf([&] { Read(config); }), HasSubstr(std::string(key) + " is missing"));
  }
}

TEST_F(JsonConfig, JoinsEndTokensOfTheGenerationConfig) {
  folder_.Write("generation_config.json", R"({"eos_token_id": [7, 2, 9], "bos_token_id": 5})");
  EXPECT_THAT(With("llama", "{}").eos_ids, ElementsAre(2, 7, 9));
  EXPECT_THAT(With("llama", R"({"eos_token_id": [9, 3]})").eos_ids, ElementsAre(9, 3, 7, 2));
  EXPECT_THAT(With("llama", R"({"eos_token_id": null})").eos_ids, ElementsAre(7, 2, 9));
  EXPECT_EQ(With("llama", "{}").bos_id, 1);
  EXPECT_EQ(With("llama", R"({"bos_token_id": null})").bos_id, 5);
  folder_.Write("generation_config.json", "{");
  EXPECT_THAT(Error("llama", "{}"), HasSubstr("generation_config.json: not valid JSON"));
}

// What a model cannot produce ends no text: left out, and its file and key named.
TEST_F(JsonConfig, LeavesOutTokensBeyondTheVocabulary) {
  CapturedLog log;
  EXPECT_THAT(With("llama", R"({"eos_token_id": [256, 3], "bos_token_id": 300})").eos_ids,
              ElementsAre(3));
  EXPECT_THAT(log.Take(),
              AllOf(HasSubstr("/config.json: eos_token_id is 256, beyond the vocabulary of 256"),
                    HasSubstr("/config.json: bos_token_id is 300")));
  folder_.Write("generation_config.json",
                R"({"eos_token_id": [2, 128009, -7], "bos_token_id": 9})");
  const ModelConfig config = With("llama", R"({"bos_token_id": 300})");
  EXPECT_THAT(config.eos_ids, ElementsAre(2));
  EXPECT_EQ(config.bos_id, 9);
  EXPECT_THAT(log.Take(),
              HasSubstr("/generation_config.json: eos_token_id is 128009, -7, beyond the"));
}

// Values carry the key that they came from.
TEST_F(JsonConfig, NamesTheKeyOfEachValue) {
  EXPECT_THAT(Error("llama", R"({"hidden_size": 56})"),
              HasSubstr("hidden_size / num_attention_heads is 7, expected an even number"));
  EXPECT_THAT(Error("llama", R"({"rope_theta": null, "rope_parameters": {"rope_theta": -1}})"),
              HasSubstr("rope_parameters.rope_theta is -1"));
  EXPECT_THAT(Error("llama", R"({"rope_parameters": {"rope_type": "linear", "factor": -2}})"),
              HasSubstr("rope_parameters.factor is -2"));
  EXPECT_THAT(Error("llama", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8,
      "low_freq_factor": 0, "high_freq_factor": 4}})"),
              HasSubstr("rope_scaling.low_freq_factor is 0"));
  EXPECT_THAT(Error("mistral", R"({"sliding_window": -3})"), HasSubstr("sliding_window is -3"));
}

TEST_F(JsonConfig, ListsAllThatItRefuses) {
  const std::string message = Error("llama", R"({"attention_bias": true, "hidden_act": "gelu",
      "rope_scaling": {"type": "linear", "factor": 2, "odd": 1}, "pretraining_tp": 2,
      "mlp_bias": true, "a key": 1})");
  EXPECT_THAT(
      message,
      AllOf(HasSubstr("hidden_act is \"gelu\", expected \"silu\"; pretraining_tp is 2, expected 1"),
            HasSubstr("\"rope_scaling.odd\" is 1, \"a key\" is 1, \"attention_bias\" is true, "
                      "\"mlp_bias\" is true, which are not supported"),
            HasSubstr("(--ignore-config rope_scaling.odd pretraining_tp \"a key\" attention_bias "
                      "mlp_bias goes on without them)")));
  EXPECT_THAT(
      Error("llama", R"({"mlp_bias": true})"),
      HasSubstr("\"mlp_bias\" is true, which is not supported (--ignore-config mlp_bias goes "
                "on without it)"));
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += fmt::format("\"odd{}\": 1, ", i);
  const std::string cut = Error("llama", many + "\"odd\": 1}");
  EXPECT_THAT(cut, HasSubstr("and 977 more"));
  EXPECT_LT(cut.size(), 2000u);
}

// Of training, sampling, tokenizers and bookkeeping, whatever the value; and values that ask for
// nothing, whatever the key.
TEST_F(JsonConfig, PassesOverWhatChangesNothing) {
  for (const char* harmless :
       {R"({"odd": null, "odd2": false, "odd3": {}, "odd4": [], "odd5": ""})",
        R"({"pruned_heads": {}, "auto_map": {"AutoModel": "x.Y"}, "_commit_hash": "a"})",
        R"({"attn_implementation": "sdpa", "use_flash_attn": true, "is_decoder": true})",
        R"({"model_max_length": 4096, "tokenizer_model_max_length": 1, "max_window_layers": 28})",
        R"({"neftune_noise_alpha": 5, "gradient_checkpointing": true, "resid_pdrop": 0.1})",
        R"({"hidden_dropout_prob": 0.1, "router_aux_loss_coef": 0.01, "image_token_id": 9})",
        R"({"eos_token": "</s>", "decoder_start_token_id": 1, "min_p": 0.1})",
        R"({"use_rms_norm": true, "rotary_pct": 1.0, "logit_scale": 1, "num_local_experts": 0})",
        R"({"n_layer": 4, "n_embd": 64, "n_head": 8, "layer_norm_eps": 1e-5})",
        R"({"original_max_position_embeddings": 512, "pad_vocab_size_multiple": 64})",
        R"({"rope_scaling": {"type": "default", "factor": 1.0, "attention_factor": 1}})",
        R"({"layer_types": ["full_attention", "full_attention", "full_attention",
                            "full_attention"]})"}) {
    EXPECT_EQ(Error("llama", harmless), "") << harmless;
  }
  for (const char* computing :
       {R"({"use_rms_norm": "no"})", R"({"rotary_pct": 0.5})", R"({"logit_scale": 0.5})",
        R"({"num_local_experts": 8})", R"({"num_experts_per_token": 2})", R"({"n_layer": 5})",
        R"({"layer_norm_eps": 1e-6})", R"({"odd": 0})", R"({"odd": [0]})",
        R"({"rope_scaling": {"type": "default", "factor": 2}})", R"({"sliding_window": 9})",
        R"({"use_sliding_window": true})"}) {
    EXPECT_THAT(Error("llama", computing), HasSubstr("not supported")) << computing;
  }
  EXPECT_THAT(Error("llama", R"({"original_max_position_embeddings": 9, "rope_scaling":
      {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
       "original_max_position_embeddings": 8}})"),
              HasSubstr("the same as outside it, 9"));
}

TEST_F(JsonConfig, KnowsAFamilyByItsOtherNames) {
  for (const char* same : {R"(["LLaMAForCausalLM"])", R"(["LlamaModel"])",
                           R"(["LlamaModel", "LlamaForCausalLM"])", R"([])", R"(null)"}) {
    EXPECT_EQ(With("llama", fmt::format(R"({{"architectures": {}}})", same)).architecture, "llama");
  }
  EXPECT_EQ(
      With("llama", R"({"model_type": null, "architectures": ["LLaMAForCausalLM"]})").architecture,
      "llama");
  EXPECT_EQ(With("llama", R"({"model_type": null, "architectures": ["Qwen2Model"]})").architecture,
            "qwen2");
  EXPECT_THAT(Error("llama", R"({"architectures": ["LlamaForSequenceClassification"]})"),
              HasSubstr("expected [\"LlamaForCausalLM\"]: it has a head that scores no tokens"));
  EXPECT_THAT(Error("llama", R"({"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]})"),
              HasSubstr("architectures is"));
  EXPECT_THAT(
      Error("llama", R"({"model_type": null, "architectures": null})"),
      HasSubstr(
          "model_type is null, expected llama, mistral, qwen2, qwen3, gemma2 or gemma3_text"));
  EXPECT_THAT(Error("llama", R"({"model_type": "llava", "text_config": {"model_type": "llama"}})"),
              HasSubstr("a model of several parts whose text_config is of model_type \"llama\""));
}

TEST_F(JsonConfig, RefusesFilesThatAreNone) {
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(folder_.Write("i.json", R"({"weight_map": {}})")); }),
              HasSubstr("i.json: an index of safetensors files, no config"));
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(folder_.Write("t.json", R"({"added_tokens": []})")); }),
              HasSubstr("t.json: a tokenizer's file, no config"));
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(folder_.path()); }), HasSubstr("has no config.json"));
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(folder_.path() / "x"); }),
              HasSubstr("cannot be opened"));
  for (const char* text : {"", "[]", "3", "{", "{\"model_type\": \"llama\"", "\xff\xfe", "nullx"}) {
    const auto path = folder_.Write("config.json", text);
    EXPECT_THAT(ErrorOf([&] { ReadModelConfig(path); }), HasSubstr("config.json")) << text;
  }
}

// The published shapes: https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct and its like.
TEST(ShippedConfigs, AreWhatWasPublished) {
  const ModelConfig small = ReadModelConfig(ResolveModel("llama-3.1-8b"));
  EXPECT_EQ(small.n_layers(), 32);
  EXPECT_EQ(small.hidden, 4096);
  EXPECT_EQ(small.n_heads, 32);
  EXPECT_EQ(small.n_kv_heads, 8);
  EXPECT_EQ(small.head_dim, 128);
  EXPECT_EQ(small.ffn_dim, 14336);
  EXPECT_EQ(small.vocab_size, 128256);
  EXPECT_EQ(small.max_positions, 131072);
  EXPECT_EQ(small.ropes.front().scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(small.ropes.front().original_max_positions, 8192);
  const ModelConfig large = ReadModelConfig(ResolveModel("Llama-3.1-70B"));
  EXPECT_EQ(large.n_layers(), 80);
  EXPECT_EQ(large.hidden, 8192);
  EXPECT_EQ(large.n_heads, 64);
  EXPECT_EQ(large.n_kv_heads, 8);
  EXPECT_EQ(large.ffn_dim, 28672);
  const ModelConfig qwen = ReadModelConfig(ResolveModel("QWEN2.5-7B"));
  EXPECT_EQ(qwen.n_layers(), 28);
  EXPECT_EQ(qwen.hidden, 3584);
  EXPECT_EQ(qwen.n_heads, 28);
  EXPECT_EQ(qwen.n_kv_heads, 4);
  EXPECT_EQ(qwen.ffn_dim, 18944);
  EXPECT_EQ(qwen.vocab_size, 152064);
  EXPECT_TRUE(qwen.layer(0).qkv_bias);
  EXPECT_THAT(qwen.windows(), Each(0));
}

// Millions of parameters, as their publishers count them (those of Gemma 3 without the vision
// tower).
TEST(ShippedConfigs, HaveAsManyParametersAsWasPublished) {
  const std::pair<const char*, int64_t> kPublished[] = {
      {"gemma-2-27b", 27227},  {"gemma-2-9b", 9242},       {"gemma-3-12b", 11766},
      {"gemma-3-27b", 27009},  {"llama-3.1-405b", 405853}, {"llama-3.1-70b", 70554},
      {"llama-3.1-8b", 8030},  {"llama-3.2-1b", 1236},     {"llama-3.2-3b", 3213},
      {"mistral-nemo", 12248}, {"qwen2.5-72b", 72706},     {"qwen2.5-7b", 7616},
      {"qwen3-32b", 32762},    {"qwen3-8b", 8191},
  };
  for (const auto& [name, millions] : kPublished) {
    int64_t parameters = 0;
    for (const ModelTensor& tensor : ModelTensors(ReadModelConfig(ResolveModel(name)))) {
      parameters += tensor.rows * tensor.cols;
    }
    EXPECT_EQ((parameters + 500000) / 1000000, millions) << name;
  }
}

TEST(ShippedConfigs, AreFoundInOrder) {
  const TempFolder folder;
  EXPECT_EQ(ResolveModel(folder.path().string()), folder.path());  // a path comes first
  const std::string message = ErrorOf([] { ResolveModel("no such model"); });
  EXPECT_THAT(message, HasSubstr("\"no such model\""));
  EXPECT_THAT(message, HasSubstr("llama-3.1-70b, llama-3.1-8b, llama-3.2-1b"));
  EXPECT_THAT(ErrorOf([] { ResolveModel(""); }), HasSubstr("llama-3.1-8b"));
  EXPECT_THAT(ErrorOf([] { ResolveModel("../configs/llama-3.1-8b"); }), HasSubstr("no such file"));
  std::filesystem::create_directory(folder.path() / "Llama-3.1-8B");
  folder.Write("Llama-3.1-8B/config.json", "{}");
  ::setenv("KVFOLD_CONFIG_DIR", folder.path().c_str(), 1);
  EXPECT_EQ(ResolveModel("llama-3.1-8b"), folder.path() / "Llama-3.1-8B");
  ::setenv("KVFOLD_CONFIG_DIR", "/nonexistent", 1);
  EXPECT_NE(ResolveModel("llama-3.1-8b"), folder.path() / "Llama-3.1-8B");
  ::unsetenv("KVFOLD_CONFIG_DIR");
}

}  // namespace
}  // namespace kvfold
