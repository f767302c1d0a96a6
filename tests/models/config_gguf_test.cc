// ModelConfig from GGUF: what is read, what is refused, and that each switch is seen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "models/model_config.h"
#include "tests/models/captured_log.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

GgufWriter Gguf(const std::string& architecture) {
  GgufWriter writer;
  writer.String("general.architecture", architecture);
  writer.Uint32(architecture + ".block_count", 2);
  writer.Uint32(architecture + ".context_length", 512);
  writer.Uint32(architecture + ".embedding_length", 64);
  writer.Uint32(architecture + ".feed_forward_length", 160);
  writer.Uint32(architecture + ".attention.head_count", 8);
  writer.Uint32(architecture + ".attention.head_count_kv", 2);
  writer.Float32(architecture + ".attention.layer_norm_rms_epsilon", 0.25f);
  writer.Uint32(architecture + ".vocab_size", 20);
  writer.Uint32("tokenizer.ggml.bos_token_id", 1);
  writer.Uint32("tokenizer.ggml.eos_token_id", 2);
  return writer;
}

class GgufConfig : public testing::Test {
 protected:
  ModelConfig Read(const GgufWriter& writer, const ConfigOptions& options = {}) {
    return ReadModelConfig(folder_.Write("m.gguf", writer.Bytes()), options);
  }
  ModelConfig With(const std::function<void(GgufWriter&)>& edit,
                   const std::string& architecture = "llama") {
    GgufWriter writer = Gguf(architecture);
    edit(writer);
    return Read(writer);
  }
  std::string Error(const std::function<void(GgufWriter&)>& edit,
                    const std::string& architecture = "llama") {
    return ErrorOf([&] { With(edit, architecture); });
  }
  TempFolder folder_;
};

TEST_F(GgufConfig, ReadsLlama) {
  const ModelConfig config = Read(Gguf("llama"));
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.n_layers(), 2);
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.n_heads, 8);
  EXPECT_EQ(config.n_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.ffn_dim, 160);
  EXPECT_EQ(config.vocab_size, 20);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.rms_eps, 0.25);
  EXPECT_EQ(config.ropes.front().theta, 10000.0);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_FALSE(config.layer(0).qkv_bias);
  EXPECT_THAT(config.windows(), ElementsAre(0, 0));
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_THAT(config.eos_ids, ElementsAre(2));
  // Ends that only the text of a token tells, as llama.cpp knows them (control_tokens_test.cc).
  EXPECT_THAT(With([](GgufWriter& w) {
                w.StringArray("tokenizer.ggml.tokens", {"a", "b", "<|x|>", "<|endoftext|>"});
              }).eos_ids,
              ElementsAre(2, 3));
}

TEST_F(GgufConfig, ReadsGemma2) {
  const ModelConfig config = Read(Gguf("gemma2"));
  EXPECT_THAT(config.windows(), ElementsAre(4096, 0));
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_EQ(config.norm_offset, 0.0);  // its norms hold it
  EXPECT_EQ(config.embedding_scale, 8.0);
  EXPECT_EQ(config.attention_scale, std::nullopt);
  EXPECT_EQ(config.score_cap, 50.0);
  EXPECT_EQ(config.logit_cap, 30.0);
  const ModelConfig stated = With(
      [](auto& w) {
        w.Uint32("gemma2.attention.sliding_window", 9);
        w.Float32("gemma2.attn_logit_softcapping", 5);
        w.Float32("gemma2.final_logit_softcapping", 0);
      },
      "gemma2");
  EXPECT_THAT(stated.windows(), ElementsAre(9, 0));
  EXPECT_EQ(stated.score_cap, 5.0);
  EXPECT_EQ(stated.logit_cap, 0.0);
  EXPECT_THAT(With([](auto& w) { w.Uint32("llama.attn_logit_softcapping", 0); }).score_cap, 0.0);
}

TEST_F(GgufConfig, ReadsGemma3) {
  const auto layers = [](auto& w) {
    w.Uint32("gemma3.attention.sliding_window", 9);
    w.Float32("gemma3.rope.freq_base", 1e6f);
    w.String("gemma3.rope.scaling.type", "linear");
    w.Float32("gemma3.rope.scaling.factor", 8);
  };
  const ModelConfig config = With(layers, "gemma3");
  EXPECT_THAT(config.windows(), ElementsAre(9, 9));  // the sixth would see all
  EXPECT_TRUE(config.layer(0).qk_norm && config.layer(0).post_norms);
  EXPECT_EQ(config.ropes[0].factor, 8.0);
  EXPECT_EQ(config.ropes[1], RopeConfig{});
  EXPECT_EQ(config.layer(1).rope, 1);
  EXPECT_EQ(config.score_cap, 0.0);
  const ModelConfig stated = With(
      [&](auto& w) {
        layers(w);
        w.Uint32("gemma3.attention.sliding_window_pattern", 2);
        w.Float32("gemma3.rope.freq_base_swa", 5000);
      },
      "gemma3");
  EXPECT_THAT(stated.windows(), ElementsAre(9, 0));
  EXPECT_EQ(stated.ropes[1].theta, 5000.0);
  EXPECT_EQ(stated.layer(1).rope, 0);
  EXPECT_THAT(Read(Gguf("gemma3")).windows(), ElementsAre(0, 0));
  EXPECT_THAT(Error([](auto& w) { w.Float32("gemma3.attn_logit_softcapping", 50); }, "gemma3"),
              HasSubstr("gemma3.attn_logit_softcapping"));
}

TEST_F(GgufConfig, ReadsSwitches) {
  EXPECT_TRUE(Read(Gguf("qwen2")).layer(0).qkv_bias);
  EXPECT_TRUE(Read(Gguf("qwen3")).layer(0).qk_norm);
  EXPECT_FALSE(Read(Gguf("qwen3")).layer(0).qkv_bias);
  EXPECT_TRUE(
      With([](auto& w) { w.Float32Tensor("blk.0.attn_q.bias", {1}, {0}); }).layer(0).qkv_bias);
  EXPECT_FALSE(With([](auto& w) { w.Float32Tensor("output.weight", {1}, {0}); }).tie_embeddings);
  EXPECT_EQ(With([](auto& w) {
              w.Uint32("llama.attention.key_length", 24);
              w.Uint32("llama.attention.value_length", 24);
              w.Uint32("llama.rope.dimension_count", 24);
            }).head_dim,
            24);
  EXPECT_THAT(With([](auto& w) { w.Uint32("llama.attention.sliding_window", 9); }).windows(),
              ElementsAre(9, 9));
  EXPECT_EQ(With([](auto& w) {
              w.Float32Tensor("token_embd.weight", {1, 30}, std::vector<float>(30));
            }).vocab_size,
            30);
  EXPECT_THAT(With([](auto& w) {
                w.Uint32("tokenizer.ggml.eot_token_id", 5);
                w.Uint32("tokenizer.ggml.eom_token_id", 0xFFFFFFFF);
              }).eos_ids,
              ElementsAre(2, 5));
}

TEST_F(GgufConfig, ReadsRope) {
  EXPECT_EQ(With([](auto& w) { w.Float32("llama.rope.freq_base", 5e5f); }).ropes.front().theta,
            5e5);
  const RopeConfig linear = With([](auto& w) {
                              w.String("llama.rope.scaling.type", "linear");
                              w.Float32("llama.rope.scaling.factor", 4);
                            }).ropes.front();
  EXPECT_EQ(linear.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(linear.factor, 4.0);
  EXPECT_EQ(With([](auto& w) { w.Float32("llama.rope.scale_linear", 4); }).ropes.front(), linear);
  EXPECT_EQ(With([](auto& w) { w.String("llama.rope.scaling.type", "none"); }).ropes.front(),
            RopeConfig{});
  const RopeConfig factors = With([](auto& w) {
                               w.Float32Tensor("rope_freqs.weight", {4}, {1, 1, 2, 8});
                             }).ropes.front();
  EXPECT_EQ(factors.scaling, RopeConfig::Scaling::kFactors);
  EXPECT_THAT(factors.freq_factors, ElementsAre(1, 1, 2, 8));
}

TEST_F(GgufConfig, RefusesByName) {
  const std::pair<std::function<void(GgufWriter&)>, const char*> edits[] = {
      {[](auto& w) { w.String("llama.rope.scaling.type", "yarn"); },
       "rope.scaling.type is \"yarn\""},
      {[](auto& w) { w.Float32("llama.rope.scaling.factor", -2); },
       "llama.rope.scaling.factor is -2"},
      {[](auto& w) {
         w.Float32Tensor("rope_freqs.weight", {3}, {1, 1, 1});
       },
       "has 3 elements, expected 4"},
      {[](auto& w) {
         w.Float32Tensor("rope_freqs.weight", {4}, {1, 0, 1, 1});
       },
       "rope_freqs.weight[1] is 0"},
      {[](auto& w) { w.Tensor("rope_freqs.weight", {4}, 1, "12345678"); }, "is of type F16"},
      {[](auto& w) { w.Uint32("llama.rope.dimension_count", 4); },
       "llama.rope.dimension_count is 4, expected 8"},
      {[](auto& w) { w.Uint32("llama.attention.value_length", 4); },
       "llama.attention.value_length is 4"},
      {[](auto& w) { w.Uint32("llama.expert_count", 8); }, "llama.expert_count is 8, expected 0"},
      {[](auto& w) { w.Float32("llama.attention.scale", 2); },
       "\"llama.attention.scale\" is 2, which is not supported"},
      {[](auto& w) { w.String("general.type", "adapter"); }, "general.type is \"adapter\""},
  };
  for (const auto& [edit, message] : edits) {
    EXPECT_THAT(Error(edit), HasSubstr(message));
    EXPECT_THAT(Error(edit), HasSubstr("m.gguf"));
  }
  EXPECT_THAT(Error([](auto& w) { w.Uint32("qwen2.attention.sliding_window", 9); }, "qwen2"),
              HasSubstr("attention.sliding_window is 9"));
  EXPECT_THAT(
      ErrorOf([&] { Read(Gguf("gemma")); }),
      HasSubstr("general.architecture is \"gemma\", expected \"llama\", \"qwen2\", \"qwen3\", "
                "\"gemma2\" or \"gemma3\""));
  GgufWriter ignored = Gguf("llama");
  ignored.Float32("llama.attention.scale", 2);
  EXPECT_NO_THROW(Read(ignored, {.ignored_keys = {"llama.attention.scale"}}));
}

TEST_F(GgufConfig, NamesTheKeyOfEachValue) {
  const std::pair<const char*, const char*> keys[] = {
      {"embedding_length", "llama.embedding_length is 0, expected 1 to"},
      {"feed_forward_length", "llama.feed_forward_length is 0"},
      {"attention.head_count_kv", "llama.attention.head_count_kv is 0"},
      {"context_length", "llama.context_length is 0"},
      {"vocab_size", "llama.vocab_size is 0"},
  };
  for (const auto& [zero, message] : keys) {
    GgufWriter writer;
    writer.String("general.architecture", "llama");
    for (const char* key :
         {"block_count", "context_length", "embedding_length", "feed_forward_length",
          "attention.head_count", "attention.head_count_kv", "vocab_size"}) {
      writer.Uint32(std::string("llama.") + key, key == std::string(zero)                 ? 0
                                                 : key == std::string("embedding_length") ? 16
                                                                                          : 4);
    }
    writer.Float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    EXPECT_THAT(ErrorOf([&] { Read(writer); }), AllOf(HasSubstr("m.gguf: "), HasSubstr(message)));
  }
  EXPECT_THAT(Error([](auto& w) { w.Uint32("llama.attention.key_length", 7); }),
              HasSubstr("llama.attention.key_length is 7, expected an even number"));
  EXPECT_THAT(Error([](auto& w) {
                w.Float32Tensor("token_embd.weight", {1, 0}, {});
              }),
              HasSubstr("the number of rows of token_embd.weight is 0"));
}

TEST_F(GgufConfig, ListsAllThatItRefuses) {
  EXPECT_THAT(
      Error([](auto& w) {
        w.Float32("llama.attention.scale", 2);
        w.Uint32("llama.odd", 1);
        w.Uint32("llama.expert_count", 8);
      }),
      AllOf(HasSubstr("llama.expert_count is 8, expected 0; another value is not supported; "
                      "\"llama.attention.scale\" is 2, \"llama.odd\" is 1, which "
                      "are not supported"),
            HasSubstr("(--ignore-config llama.attention.scale llama.odd goes on")));
  EXPECT_EQ(Error([](auto& w) {
              w.Bool("llama.odd", false);
              w.String("llama.name", "");
              w.Bool("llama.attention.causal", true);
              w.Float32("llama.logit_scale", 1);
            }),
            "");
}

TEST_F(GgufConfig, LeavesOutTokensBeyondTheVocabulary) {
  CapturedLog log;
  EXPECT_THAT(With([](auto& w) { w.Uint32("tokenizer.ggml.eot_token_id", 20); }).eos_ids,
              ElementsAre(2));
  EXPECT_THAT(log.Take(),
              HasSubstr("m.gguf: tokenizer.ggml.eot_token_id is 20, beyond the vocabulary of 20"));
}

// ollama keeps GGUF files under the names of their digests.
TEST_F(GgufConfig, IsKnownByItsContents) {
  for (const char* name : {"sha256-9f86d0", "M.GGUF", "model.bin"}) {
    EXPECT_EQ(ReadModelConfig(folder_.Write(name, Gguf("llama").Bytes())).n_layers(), 2) << name;
  }
}

TEST_F(GgufConfig, TakesArraysOfOneNumber) {
  GgufWriter writer;
  writer.String("general.architecture", "llama");
  for (const char* key : {"block_count", "context_length", "embedding_length", "vocab_size"}) {
    writer.Uint32(std::string("llama.") + key, 16);
  }
  writer.Float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.Uint32("llama.attention.head_count", 4);
  GgufWriter same = writer;
  same.NumberArray<int32_t>("llama.feed_forward_length", GgufType::kInt32, {48, 48});
  EXPECT_EQ(Read(same).ffn_dim, 48);
  for (const std::vector<int32_t>& by_layer : {std::vector<int32_t>{48, 64}, {}}) {
    GgufWriter differing = writer;
    differing.NumberArray<int32_t>("llama.feed_forward_length", GgufType::kInt32, by_layer);
    EXPECT_THAT(ErrorOf([&] { Read(differing); }), HasSubstr("feed_forward_length differs"));
  }
  EXPECT_THAT(ErrorOf([&] { Read(writer); }), HasSubstr("no key \"llama.feed_forward_length\""));
}

TEST(Fixtures, GgufOfGgufPy) {
  const ModelConfig config = ReadModelConfig(std::filesystem::path(KVFOLD_FIXTURES) /
                                             "checkpoint/split-00001-of-00003.gguf");
  EXPECT_EQ(config.n_heads, 4);
  EXPECT_EQ(config.n_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.vocab_size, 10);
  EXPECT_EQ(config.ropes.front().scaling, RopeConfig::Scaling::kFactors);  // in the last file
  EXPECT_EQ(config.ropes.front().freq_factors.size(), 2u);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_TRUE(config.layer(0).qkv_bias);
  EXPECT_THAT(config.eos_ids, ElementsAre(2, 7));
}

}  // namespace
}  // namespace kvfold
