#include "models/config_gguf.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "models/checkpoint/ggml_type.h"
#include "models/checkpoint/gguf_split.h"
#include "models/checkpoint/tensor_names.h"
#include "models/config_limits.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr int64_t kMostLayers = 1 << 12;

// The keys "<architecture>.*" of the first file; it remembers which were asked for.
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufFile& file, std::string architecture)
      : file_(file), prefix_(std::move(architecture) + ".") {}

  bool Has(std::string_view key) { return file_.Has(Full(key)); }
  // One number for all layers. An array of one number a layer is taken where they are all the same.
  int64_t Int(std::string_view key) {
    const std::string full = Full(key);
    const GgufValue* const value = file_.Find(full);
    if (value == nullptr || value->type != GgufType::kArray) return file_.Int(full);
    const std::vector<int64_t> by_layer = file_.IntArray(full);
    if (by_layer.empty() || std::any_of(by_layer.begin(), by_layer.end(),
                                        [&](int64_t n) { return n != by_layer[0]; })) {
      Refuse(key, "differs from layer to layer", "one number for all layers");
    }
    return by_layer.front();
  }
  int64_t Int(std::string_view key, int64_t fallback) { return Has(key) ? Int(key) : fallback; }
  double Float(std::string_view key) { return file_.Float(Full(key)); }
  double Float(std::string_view key, double fallback) { return file_.Float(Full(key), fallback); }
  std::string_view String(std::string_view key, std::string_view fallback) {
    return file_.String(Full(key), fallback);
  }

  [[noreturn]] void Refuse(std::string_view key, std::string_view found,
                           std::string_view expected) {
    throw InputError(
        fmt::format("{}: {}{} {}, expected {}", file_.path(), prefix_, key, found, expected));
  }
  void ExpectInt(std::string_view key, int64_t expected) {
    if (const int64_t found = Int(key, expected); found != expected) {
      Refuse(key, fmt::format("is {}", found),
             fmt::format("{}; another value is not supported", expected));
    }
  }
  void RefuseUnknown(const std::vector<std::string>& ignored) const;

 private:
  std::string Full(std::string_view key) {
    std::string full = prefix_ + std::string(key);
    known_.insert(full);
    return full;
  }

  const GgufFile& file_;
  std::string prefix_;
  std::set<std::string> known_;
};

void ArchitectureKeys::RefuseUnknown(const std::vector<std::string>& ignored) const {
  for (const auto& [key, value] : file_.values()) {
    if (!key.starts_with(prefix_) || known_.count(std::string(key)) != 0) continue;
    if (value.type == GgufType::kBool && std::get<int64_t>(value.value) == 0) continue;
    if (std::find(ignored.begin(), ignored.end(), key) != ignored.end()) continue;
    throw InputError(
        fmt::format("{}: metadata key {} is not supported", file_.path(), Quoted(key)));
  }
}

// Llama 3's scaling comes as the tensor rope_freqs.weight; "linear" is also what llama.cpp takes a
// factor for where no type is given.
RopeConfig ReadRope(ArchitectureKeys& keys, const std::vector<GgufFile>& files) {
  RopeConfig rope;
  rope.theta = keys.Float("rope.freq_base", 10000.0);
  const double factor = keys.Float("rope.scaling.factor", keys.Float("rope.scale_linear", 0.0));
  const std::string_view type = keys.String("rope.scaling.type", factor == 0.0 ? "none" : "linear");
  if (type == "linear" && factor != 0.0 && factor != 1.0) {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.factor = factor;
  } else if (type != "none" && type != "linear") {
    keys.Refuse("rope.scaling.type", fmt::format("is {}", Quoted(type)), "\"none\" or \"linear\"");
  }
  for (const std::string_view harmless :
       {"rope.scaling.finetuned", "rope.scaling.original_context_length"}) {
    keys.Has(harmless);
  }

  for (const GgufFile& file : files) {
    const GgufTensor* const factors = file.FindTensor("rope_freqs.weight");
    if (factors == nullptr) continue;
    if (rope.scaling != RopeConfig::Scaling::kNone) {
      keys.Refuse("rope.scaling.type", "is \"linear\" beside a tensor rope_freqs.weight",
                  "one of them");
    }
    if (factors->type != 0) {
      throw InputError(fmt::format("{}: tensor rope_freqs.weight is of type {}, expected F32",
                                   file.path(), GgmlTypeName(factors->type)));
    }
    rope.scaling = RopeConfig::Scaling::kFactors;
    if (factors->bytes == 0) continue;  // CheckModelConfig misses them
    rope.freq_factors.resize(static_cast<size_t>(factors->bytes) / sizeof(float));
    std::memcpy(rope.freq_factors.data(), file.file().data() + factors->offset_bytes,
                rope.freq_factors.size() * sizeof(float));
  }
  return rope;
}

int64_t ReadVocabSize(ArchitectureKeys& keys, const std::vector<GgufFile>& files) {
  const int64_t stated = keys.Int("vocab_size", -1);
  const GgufTensor* const embedding = FindTensor(files, "token_embd.weight");
  if (embedding != nullptr && embedding->dims.size() == 2) return embedding->dims[1];
  if (stated != -1) return stated;
  return static_cast<int64_t>(files.front().StringArray("tokenizer.ggml.tokens").size());
}

void AddEosId(const GgufFile& file, std::string_view key, ModelConfig* config) {
  const int64_t id = file.Int(key, -1);
  // Some converters write 2^32 - 1 for "none".
  if (id == -1 || id == 0xFFFFFFFF) return;
  if (std::find(config->eos_ids.begin(), config->eos_ids.end(), id) == config->eos_ids.end()) {
    config->eos_ids.push_back(id);
  }
}

// A tensor of a layer that no switch of ours accounts for would be left out of the computation.
void RefuseUnknownTensors(const std::vector<GgufFile>& files, const ConfigOptions& options) {
  for (const GgufFile& file : files) {
    for (const GgufTensor& tensor : file.tensors()) {
      const std::string_view name = tensor.name;
      if (NameFromGguf(name).has_value() || name == "rope_freqs.weight") continue;
      // Rotation tables that old converters copied from the original checkpoint.
      if (name.starts_with("blk.") && name.ends_with(".attn_rot_embd")) continue;
      if (std::find(options.ignored_keys.begin(), options.ignored_keys.end(), name) !=
          options.ignored_keys.end()) {
        continue;
      }
      throw InputError(fmt::format("{}: tensor {} is not supported", file.path(), Quoted(name)));
    }
  }
}

}  // namespace

ModelConfig ReadGgufConfig(const std::filesystem::path& path, const ConfigOptions& options) {
  const std::vector<GgufFile> files = OpenGgufSplit(path);
  const GgufFile& file = files.front();
  ModelConfig config;
  config.architecture = file.String("general.architecture");
  if (config.architecture != "llama" && config.architecture != "qwen2") {
    throw InputError(fmt::format("{}: general.architecture is {}, expected \"llama\" or \"qwen2\"",
                                 file.path(), Quoted(config.architecture)));
  }
  const bool is_qwen2 = config.architecture == "qwen2";
  ArchitectureKeys keys(file, config.architecture);
  config.n_layers = keys.Int("block_count");
  if (config.n_layers < 1 || config.n_layers > kMostLayers) {
    keys.Refuse("block_count", fmt::format("is {}", config.n_layers),
                fmt::format("1 to {}", kMostLayers));
  }
  config.hidden = keys.Int("embedding_length");
  config.ffn_dim = keys.Int("feed_forward_length");
  config.n_heads = keys.Int("attention.head_count");
  if (config.n_heads < 1) {
    keys.Refuse("attention.head_count", fmt::format("is {}", config.n_heads), "a positive integer");
  }
  config.n_kv_heads = keys.Int("attention.head_count_kv", config.n_heads);
  if (!keys.Has("attention.key_length") && config.hidden % config.n_heads != 0) {
    keys.Refuse("embedding_length", fmt::format("is {}", config.hidden),
                fmt::format("a multiple of {} heads", config.n_heads));
  }
  config.head_dim = keys.Int("attention.key_length", config.hidden / config.n_heads);
  keys.ExpectInt("attention.value_length", config.head_dim);
  keys.ExpectInt("rope.dimension_count", config.head_dim);
  keys.ExpectInt("expert_count", 0);
  keys.Has("expert_used_count");
  keys.Has("tensor_data_layout");
  config.max_positions = keys.Int("context_length");
  config.rms_eps = keys.Float("attention.layer_norm_rms_epsilon");
  config.vocab_size = ReadVocabSize(keys, files);
  config.rope = ReadRope(keys, files);
  const int64_t window = keys.Int("attention.sliding_window", 0);
  if (is_qwen2 && window != 0) {
    keys.Refuse("attention.sliding_window", fmt::format("is {}", window),
                "none: which layers of a qwen2 model slide is not said");
  }
  config.layer_windows.assign(config.n_layers, window);
  keys.RefuseUnknown(options.ignored_keys);

  config.tie_embeddings = FindTensor(files, "output.weight") == nullptr;
  config.qkv_bias = is_qwen2 || FindTensor(files, "blk.0.attn_q.bias") != nullptr;
  RefuseUnknownTensors(files, options);
  const int64_t bos_id = file.Int("tokenizer.ggml.bos_token_id", -1);
  config.bos_id = bos_id == 0xFFFFFFFF ? -1 : bos_id;
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    AddEosId(file, key, &config);
  }
  CheckModelConfig(config, file.path());
  return config;
}

}  // namespace kvfold
