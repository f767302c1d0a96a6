// What lies between a config and its files: tensors under other names, missing ones, and those that
// no switch accounts for.
#include "models/checkpoint/model_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/models/captured_log.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/safetensors_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

ModelConfig Config(bool tied = false) {
  ModelConfig config;
  config.architecture = "llama";
  config.layers.resize(2);
  config.hidden = 4;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 2;
  config.ffn_dim = 6;
  config.vocab_size = 8;
  config.max_positions = 16;
  config.tie_embeddings = tied;
  return config;
}

std::string Same(const std::string& name) { return name; }

class ModelWeights : public testing::Test {
 protected:
  using Rename = std::function<std::string(const std::string&)>;

  // Opens a folder with the config's tensors, renamed, and what `add` adds.
  std::unique_ptr<Checkpoint> Open(
      const ModelConfig& config, const Rename& rename,
      const std::function<void(SafetensorsWriter&)>& add = [](auto&) {},
      const ConfigOptions& options = {}) {
    SafetensorsWriter writer;
    writer.Model(config, rename);
    add(writer);
    folder_.Write("model.safetensors", writer.Bytes());
    return OpenModelWeights(folder_.path(), config, options);
  }
  std::string Error(const std::function<void(SafetensorsWriter&)>& add,
                    const ConfigOptions& options = {}) {
    return ErrorOf([&] { Open(Config(), Same, add, options); });
  }
  TempFolder folder_;
};

void ExpectAll(const Checkpoint& checkpoint, const ModelConfig& config) {
  for (const ModelTensor& tensor : ModelTensors(config)) {
    EXPECT_NE(checkpoint.Find(tensor.name), nullptr) << tensor.name;
  }
}

TEST_F(ModelWeights, AreReadByTheirUsualNames) {
  CapturedLog log;
  ExpectAll(*Open(Config(), Same), Config());
  EXPECT_EQ(log.Take(), "");
}

std::string Replaced(const std::string& name, const std::string& body, const std::string& head) {
  return name == "lm_head.weight" ? head : body + name.substr(std::string("model.").size());
}

// A language model that was saved as a part of another, or without its head.
TEST_F(ModelWeights, AreReadByOtherBeginnings) {
  const std::pair<const char*, const char*> names[] = {
      {"model.language_model.", "lm_head.weight"},
      {"model.language_model.", "model.lm_head.weight"},
      {"language_model.model.", "language_model.lm_head.weight"},
      {"language_model.model.", "lm_head.weight"},
      {"language_model.", "lm_head.weight"},
      {"", "lm_head.weight"},
      {"module.model.", "module.lm_head.weight"},
      {"_orig_mod.model.", "_orig_mod.lm_head.weight"},
  };
  for (const auto& [body, head] : names) {
    CapturedLog log;
    const auto checkpoint = Open(
        Config(), [&](const std::string& name) { return Replaced(name, body, head); },
        [](auto& w) {
          w.Float32("vision_tower.encoder.layers.0.self_attn.q_proj.weight", {4, 4});
          w.Float32("multi_modal_projector.linear_1.weight", {4, 4});
          w.Float32("vision_tower.embeddings.position_embedding.weight", {4, 4});
        });
    ExpectAll(*checkpoint, Config());
    EXPECT_THAT(log.Take(),
                HasSubstr(fmt::format("called \"{}layers.0...\" and \"{}\": read", body, head)));
  }
}

TEST_F(ModelWeights, OtherBeginningsAreTakenOffWhereAllAgree) {
  EXPECT_THAT(ErrorOf([&] {
                Open(Config(), [](const std::string& name) {
                  return name.find("layers.1.") == std::string::npos ? name : name.substr(6);
                });
              }),
              AllOf(HasSubstr("has no tensors \"model.layers.1.input_layernorm.weight\""),
                    HasSubstr("its tensors are called like")));
  EXPECT_THAT(ErrorOf([&] {
                Open(Config(), [](const std::string& name) {
                  return (name.find("layers.1.") == std::string::npos ? "a." : "b.") + name;
                });
              }),
              HasSubstr("has no tensors"));
  EXPECT_THAT(ErrorOf([&] {
                Open(
                    Config(), [](const std::string& name) { return "a." + name; },
                    [](auto& w) {
                      w.Model(Config(), [](const std::string& name) { return "b." + name; });
                    });
              }),
              HasSubstr("the layers of 2 models, whose names begin \"a.model.\" and \"b.model.\""));
  // The usual names win, and a part that drafts tokens is no model.
  EXPECT_EQ(Error([](auto& w) {
              w.Model(Config(), [](const std::string& name) { return "teacher." + name; });
            }),
            "");
  EXPECT_EQ(ErrorOf([&] {
              Open(
                  Config(), [](const std::string& name) { return "a." + name; },
                  [](auto& w) { w.Float32("mtp.layers.0.input_layernorm.weight", {4}); });
            }),
            "");
}

TEST_F(ModelWeights, UnknownTensorsOfTheModelAreRefusedAtOnce) {
  EXPECT_THAT(
      Error([](auto& w) {
        w.Float32("model.layers.0.self_attn.q_norm.weight", {2});
        w.Float32("model.layers.1.self_attn.q_norm.weight", {2});
        w.Float32("model.layers.1.mlp.up_proj.bias", {6});
        w.Float32("model.embed_norm.weight", {4});
        w.Float32("lm_head.bias", {8});
      }),
      AllOf(
          HasSubstr(
              "tensors \"lm_head.bias\", \"model.embed_norm.weight\", "
              "\"model.layers.*.self_attn.q_norm.weight\" (2 layers), "
              "\"model.layers.1.mlp.up_proj.bias\" are not supported: the model would be computed "
              "without them (--ignore-config NAME goes on so)"),
          HasSubstr(folder_.path().string())));
  // Known names that the config's switches do not ask for.
  EXPECT_THAT(Error([](auto& w) { w.Float32("model.layers.0.self_attn.q_proj.bias", {4}); }),
              HasSubstr("tensor \"model.layers.0.self_attn.q_proj.bias\" is not supported"));
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.layer_scalar",
        "model.layers.0.self_attn.q_proj.qweight", "model.norm.bias", "model.layers.00.x"}) {
    EXPECT_THAT(Error([&](auto& w) { w.Float32(name, {1}); }),
                AllOf(HasSubstr(name), HasSubstr("not supported")));
  }
}

TEST_F(ModelWeights, UnknownTensorsGoByNameWhereTheyAreIgnored) {
  const auto add = [](auto& w) {
    w.Float32("model.layers.0.self_attn.q_norm.weight", {2});
    w.Float32("model.layers.1.self_attn.q_norm.weight", {2});
  };
  EXPECT_EQ(Error(add, {.ignored_keys = {"model.layers.*.self_attn.q_norm.weight"}}), "");
  EXPECT_THAT(Error(add, {.ignored_keys = {"model.layers.0.self_attn.q_norm.weight"}}),
              HasSubstr("tensor \"model.layers.1.self_attn.q_norm.weight\" is not supported"));
}

TEST_F(ModelWeights, TensorsThatChangeNothingAreNobodys) {
  EXPECT_EQ(Error([](auto& w) {
              w.Float32("model.layers.0.self_attn.rotary_emb.inv_freq", {1});
              w.Float32("model.rotary_emb.inv_freq", {1});
              w.Float32("model.layers.0.self_attn.masked_bias", {});
              w.Float32("model.layers.0.self_attn.bias", {1, 1, 2, 2});
              w.Float32("model.layers.0.self_attn.k_scale", {});
              w.Float32("model.layers.0.nothing", {0});
              w.Float32("scalar", {});
              w.Float32("model.vision_tower.layers.0.q_norm.weight", {2});
              w.Raw("bytes", "U8", {3}, "abc");
              w.Raw("new", "F6_E2M3", {4}, "abc");
            }),
            "");
}

TEST_F(ModelWeights, MissingOnesAreListedAtOnce) {
  const auto without = [&](std::string_view part) {
    return ErrorOf([&] {
      Open(Config(), [&](const std::string& name) {
        return name.find(part) == std::string::npos ? name : std::string();
      });
    });
  };
  EXPECT_THAT(without("model.norm"),
              HasSubstr("has no tensor \"model.norm.weight\", expected one of shape [1, 4]"));
  EXPECT_THAT(without("q_proj"),
              HasSubstr("has no tensors \"model.layers.*.self_attn.q_proj.weight\" (2 layers)"));
  EXPECT_THAT(without("lm_head"), HasSubstr("as tie_word_embeddings is not true"));
  ModelConfig wide = Config();
  wide.ffn_dim = 7;
  folder_.Write("model.safetensors", [] {
    SafetensorsWriter writer;
    writer.Model(Config(), Same);
    return writer.Bytes();
  }());
  EXPECT_THAT(ErrorOf([&] { OpenModelWeights(folder_.path(), wide); }),
              AllOf(HasSubstr("tensor \"model.layers.0.mlp.gate_proj.weight\" has shape [6, 4], "
                              "expected [7, 4]"),
                    HasSubstr("and 3 more are of other shapes")));
}

TEST_F(ModelWeights, LayersBeyondTheConfigAreLeftAlone) {
  ModelConfig four = Config();
  four.layers.resize(4);
  SafetensorsWriter writer;
  writer.Model(four, Same);
  folder_.Write("model.safetensors", writer.Bytes());
  CapturedLog log;
  ExpectAll(*OpenModelWeights(folder_.path(), Config()), Config());
  EXPECT_THAT(log.Take(), HasSubstr("has 4 layers, of which the first 2 are used"));
}

// Tied matrices are one: either name will do, and both as well.
TEST_F(ModelWeights, TiedMatricesAreOne) {
  const ModelConfig tied = Config(/*tied=*/true);
  CapturedLog log;
  const auto head_alone = Open(tied, [](const std::string& name) {
    return name == "model.embed_tokens.weight" ? "lm_head.weight" : name;
  });
  const TensorInfo& matrix = head_alone->Expect("model.embed_tokens.weight", 8, 4);
  std::vector<float> row(4);
  head_alone->ReadBlock(matrix, 7, 8, 0, 4, row.data());
  EXPECT_EQ(row, std::vector<float>(4, 1.0f));
  Open(tied, Same, [](auto& w) { w.Float32("lm_head.weight", {8, 4}); });
  EXPECT_EQ(log.Take(), "");
  const auto both = Open(tied, Same, [](auto& w) { w.Float32("lm_head.weight", {8, 4}, 2.0f); });
  EXPECT_THAT(log.Take(), AllOf(HasSubstr("tie_word_embeddings is true, and lm_head.weight differs "
                                          "from model.embed_tokens.weight"),
                                HasSubstr("the embedding is used for both")));
  EXPECT_EQ(both->Find("model.embed_tokens.weight")->name, "model.embed_tokens.weight");
  EXPECT_THAT(ErrorOf([&] {
                Open(tied, [](const std::string& name) {
                  return name == "model.embed_tokens.weight" ? std::string() : name;
                });
              }),
              HasSubstr("has no tensor \"model.embed_tokens.weight\""));
}

TEST_F(ModelWeights, IndexMayListWhatNobodyNeeds) {
  const ModelConfig tied = Config(/*tied=*/true);
  SafetensorsWriter writer;
  writer.Model(tied, Same);
  folder_.Write("one.safetensors", writer.Bytes());
  folder_.Write("model.safetensors.index.json",
                R"({"weight_map":{"lm_head.weight":"one.safetensors"}})");
  ExpectAll(*OpenModelWeights(folder_.path(), tied), tied);
  EXPECT_THAT(ErrorOf([&] { OpenModelWeights(folder_.path(), Config()); }),
              HasSubstr("has no tensor \"lm_head.weight\", expected one of shape [8, 4], as "
                        "tie_word_embeddings is not true, though model.safetensors.index.json "
                        "places it in one.safetensors"));
}

GgufWriter Gguf(const std::string& left_out = "") {
  GgufWriter writer;
  writer.String("general.architecture", "qwen2");
  const std::pair<const char*, std::vector<int64_t>> tensors[] = {
      {"token_embd.weight", {4, 8}},        {"output.weight", {4, 8}},
      {"output_norm.weight", {4}},          {"blk.0.attn_norm.weight", {4}},
      {"blk.0.ffn_norm.weight", {4}},       {"blk.0.attn_q.weight", {4, 4}},
      {"blk.0.attn_k.weight", {4, 2}},      {"blk.0.attn_v.weight", {4, 2}},
      {"blk.0.attn_output.weight", {4, 4}}, {"blk.0.ffn_gate.weight", {4, 6}},
      {"blk.0.ffn_up.weight", {4, 6}},      {"blk.0.ffn_down.weight", {6, 4}},
  };
  for (const auto& [name, dims] : tensors) {
    if (name == left_out) continue;
    writer.Float32Tensor(name, dims,
                         std::vector<float>(dims[0] * (dims.size() > 1 ? dims[1] : 1), 1.0f));
  }
  return writer;
}

// One rule for both formats, in each format's own names.
TEST_F(ModelWeights, OfGgufAreJudgedAlike) {
  ModelConfig config = Config();
  config.layers.resize(1);
  const auto error = [&](const GgufWriter& writer, const ConfigOptions& options = {}) {
    return ErrorOf(
        [&] { OpenModelWeights(folder_.Write("m.gguf", writer.Bytes()), config, options); });
  };
  EXPECT_EQ(error(Gguf()), "");
  for (const char* name : {"blk.0.attn_q_norm.weight", "blk.0.attn_output.bias",
                           "blk.0.attn_q.bias", "token_embd_norm.weight", "cls.weight"}) {
    GgufWriter writer = Gguf();
    writer.Float32Tensor(name, {4}, {1, 1, 1, 1});
    EXPECT_THAT(error(writer), HasSubstr(fmt::format("tensor \"{}\" is not supported", name)));
    EXPECT_EQ(error(writer, {.ignored_keys = {name}}), "");
  }
  GgufWriter harmless = Gguf();
  harmless.Float32Tensor("blk.0.attn_rot_embd", {1}, {1});
  harmless.Float32Tensor("v.patch_embd.weight", {1}, {1});
  EXPECT_EQ(error(harmless), "");
  EXPECT_THAT(error(Gguf("blk.0.ffn_up.weight")),
              HasSubstr("m.gguf: has no tensor \"blk.0.ffn_up.weight\", expected one of shape"));
  config.ffn_dim = 5;
  EXPECT_THAT(error(Gguf()), AllOf(HasSubstr("tensor \"blk.0.ffn_gate.weight\" has shape [6, 4]"),
                                   Not(HasSubstr("mlp.gate_proj"))));
}

}  // namespace
}  // namespace kvfold
