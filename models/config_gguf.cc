#include "models/config_gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "models/checkpoint/ggml_type.h"
#include "models/checkpoint/gguf_split.h"
#include "models/config_limits.h"
#include "models/config_refusals.h"
#include "models/families.h"
#include "models/quoted.h"
#include "models/tokenizer/control_tokens.h"

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
  void ExpectInt(std::string_view key, int64_t expected, ConfigRefusals* refusals) {
    if (const int64_t found = Int(key, expected); found != expected) {
      refusals->Add(fmt::format("{}{} is {}, expected {}; another value is not supported", prefix_,
                                key, found, expected));
    }
  }
  // A value as it stands in the file, for messages.
  Origin Of(std::string_view key) const { return {file_.path(), prefix_ + std::string(key)}; }
  void AddUnknown(ConfigRefusals* refusals) const;

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

// Whether a value says nothing: false, an empty text or an empty array.
bool IsNeutral(const GgufValue& value) {
  if (value.type == GgufType::kBool) return std::get<int64_t>(value.value) == 0;
  if (value.type == GgufType::kString) return std::get<std::string_view>(value.value).empty();
  return value.type == GgufType::kArray && std::get<GgufArray>(value.value).count == 0;
}

// Switches of other architectures, at the value that means what is computed here.
constexpr std::pair<std::string_view, double> kNeutralValues[] = {
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attn_logit_softcapping", 0},
    {"embedding_scale", 1},
    {"expert_shared_count", 0},
    {"final_logit_softcapping", 0},
    {"logit_scale", 1},
    {"pooling_type", 0},
    {"residual_scale", 1},
    {"rope.scaling.attn_factor", 1},
};

bool IsNeutralNumber(std::string_view key, const GgufValue& value) {
  double number = 0.0;
  if (const auto* const small = std::get_if<int64_t>(&value.value)) {
    number = static_cast<double>(*small);
  } else if (const auto* const real = std::get_if<double>(&value.value)) {
    number = *real;
  } else {
    return false;
  }
  return std::ranges::find(kNeutralValues, std::pair(key, number)) != std::end(kNeutralValues);
}

std::string Shown(const GgufValue& value) {
  if (const auto* const small = std::get_if<int64_t>(&value.value)) {
    if (value.type != GgufType::kBool) return fmt::format("{}", *small);
    return *small != 0 ? "true" : "false";
  }
  if (const auto* const big = std::get_if<uint64_t>(&value.value)) return fmt::format("{}", *big);
  if (const auto* const real = std::get_if<double>(&value.value)) return fmt::format("{}", *real);
  if (value.type == GgufType::kString) return Quoted(std::get<std::string_view>(value.value));
  return fmt::format("an array of {}", std::get<GgufArray>(value.value).count);
}

void ArchitectureKeys::AddUnknown(ConfigRefusals* refusals) const {
  std::vector<std::string_view> unknown;
  for (const auto& [key, value] : file_.values()) {
    if (!key.starts_with(prefix_) || known_.count(std::string(key)) != 0) continue;
    if (IsNeutral(value) || IsNeutralNumber(key.substr(prefix_.size()), value)) continue;
    unknown.push_back(key);
  }
  std::ranges::sort(unknown);
  for (const std::string_view key : unknown) {
    refusals->AddUnknown(key, fmt::format("{} is {}", Quoted(key), Shown(*file_.Find(key))));
  }
}

// Llama 3's scaling comes as the tensor rope_freqs.weight; "linear" is also what llama.cpp takes a
// factor for where no type is given.
RopeConfig ReadRope(ArchitectureKeys& keys, const std::vector<GgufFile>& files,
                    ConfigOrigins* origins, ConfigRefusals* refusals) {
  RopeConfig rope;
  origins->theta = keys.Of("rope.freq_base");
  origins->factor =
      keys.Of(keys.Has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear");
  rope.theta = keys.Float("rope.freq_base", 10000.0);
  const double factor = keys.Float("rope.scaling.factor", keys.Float("rope.scale_linear", 0.0));
  const std::string_view type = keys.String("rope.scaling.type", factor == 0.0 ? "none" : "linear");
  if (type == "linear" && factor != 0.0 && factor != 1.0) {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.factor = factor;
  } else if (type != "none" && type != "linear") {
    refusals->Add(fmt::format("{} is {}, expected \"none\" or \"linear\"",
                              keys.Of("rope.scaling.type").key, Quoted(type)));
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
    origins->freq_factors = {file.path(), "rope_freqs.weight"};
    if (factors->bytes == 0) continue;  // CheckModelConfig misses them
    rope.freq_factors.resize(static_cast<size_t>(factors->bytes) / sizeof(float));
    std::memcpy(rope.freq_factors.data(), file.file().data() + factors->offset_bytes,
                rope.freq_factors.size() * sizeof(float));
  }
  return rope;
}

// As llama.cpp computes them: what of transformers' configs has no key here goes by the shapes of
// the models that there are (llama-model.cpp, LLM_ARCH_GEMMA2, LLM_ARCH_GEMMA3). Norms hold their
// offset.
void ReadGemma(ArchitectureKeys& keys, const Family& family, ModelConfig* config,
               ConfigOrigins* origins) {
  config->activation = Activation::kGeluTanh;
  config->embedding_scale = std::sqrt(static_cast<float>(config->hidden));
  if (family.gemma->score_cap > 0.0) {  // as of config.json: Gemma 3 has none
    config->score_cap = keys.Float("attn_logit_softcapping", family.gemma->score_cap);
    origins->score_cap = keys.Of("attn_logit_softcapping");
  }
  config->logit_cap = keys.Float("final_logit_softcapping", family.gemma->logit_cap);
  origins->logit_cap = keys.Of("final_logit_softcapping");
  if (keys.Int("block_count") == family.gemma->layers_of_27b) {
    config->attention_scale =
        1.0 / std::sqrt(static_cast<double>(config->hidden / config->n_heads));
  }
}

int64_t ReadVocabSize(ArchitectureKeys& keys, const std::vector<GgufFile>& files, Origin* origin) {
  const int64_t stated = keys.Int("vocab_size", -1);
  const GgufTensor* const embedding = FindTensor(files, "token_embd.weight");
  if (embedding != nullptr && embedding->dims.size() == 2) {
    *origin = {files.front().path(), "the number of rows of token_embd.weight"};
    return embedding->dims[1];
  }
  *origin = keys.Of("vocab_size");
  if (stated != -1) return stated;
  *origin = {files.front().path(), "the number of tokenizer.ggml.tokens"};
  return static_cast<int64_t>(files.front().StringArray("tokenizer.ggml.tokens").size());
}

}  // namespace

ModelConfig ReadGgufConfig(const std::filesystem::path& path, const ConfigOptions& options) {
  const std::vector<GgufFile> files = OpenGgufSplit(path);
  const GgufFile& file = files.front();
  if (const std::string_view type = file.String("general.type", "model"); type != "model") {
    throw InputError(
        fmt::format("{}: general.type is {}, expected \"model\"", file.path(), Quoted(type)));
  }
  ModelConfig config;
  const std::string_view architecture = file.String("general.architecture");
  const auto family = std::ranges::find_if(Families(), [&](const Family& candidate) {
    return !architecture.empty() && candidate.gguf_name == architecture;
  });
  if (family == Families().end()) {
    throw InputError(fmt::format("{}: general.architecture is {}, expected {}", file.path(),
                                 Quoted(architecture), ListFamilies(&Family::gguf_name, "\"")));
  }
  config.architecture = family->model_type;
  ArchitectureKeys keys(file, std::string(architecture));
  ConfigOrigins origins;
  ConfigRefusals refusals(options);
  const int64_t n_layers = keys.Int("block_count");
  origins.n_layers = keys.Of("block_count");
  if (n_layers < 1 || n_layers > kMostLayers) {
    keys.Refuse("block_count", fmt::format("is {}", n_layers), fmt::format("1 to {}", kMostLayers));
  }
  config.hidden = keys.Int("embedding_length");
  origins.hidden = keys.Of("embedding_length");
  config.ffn_dim = keys.Int("feed_forward_length");
  origins.ffn_dim = keys.Of("feed_forward_length");
  config.n_heads = keys.Int("attention.head_count");
  origins.n_heads = keys.Of("attention.head_count");
  if (config.n_heads < 1) {
    keys.Refuse("attention.head_count", fmt::format("is {}", config.n_heads), "a positive integer");
  }
  config.n_kv_heads = keys.Int("attention.head_count_kv", config.n_heads);
  origins.n_kv_heads = keys.Of("attention.head_count_kv");
  const bool states_head_dim = keys.Has("attention.key_length");
  if (!states_head_dim && config.hidden % config.n_heads != 0) {
    keys.Refuse("embedding_length", fmt::format("is {}", config.hidden),
                fmt::format("a multiple of {} heads", config.n_heads));
  }
  config.head_dim = keys.Int("attention.key_length", config.hidden / config.n_heads);
  origins.head_dim = keys.Of("attention.key_length");
  if (!states_head_dim) {
    origins.head_dim.key = fmt::format("{} / {}", origins.hidden.key, origins.n_heads.key);
  }
  keys.ExpectInt("attention.value_length", config.head_dim, &refusals);
  keys.ExpectInt("rope.dimension_count", config.head_dim, &refusals);
  keys.ExpectInt("expert_count", 0, &refusals);
  keys.Has("expert_used_count");
  keys.Has("tensor_data_layout");
  config.max_positions = keys.Int("context_length");
  origins.max_positions = keys.Of("context_length");
  config.rms_eps = keys.Float("attention.layer_norm_rms_epsilon");
  origins.rms_eps = keys.Of("attention.layer_norm_rms_epsilon");
  config.vocab_size = ReadVocabSize(keys, files, &origins.vocab_size);
  config.ropes = {ReadRope(keys, files, &origins, &refusals)};
  LayerSpec layer = family->layer;
  const double local_theta = family->local_theta();
  const bool slides_unsaid = family->window_period > 0 && local_theta == 0.0;  // Gemma 2
  layer.window = keys.Int("attention.sliding_window", slides_unsaid ? 4096 : 0);
  origins.window = keys.Of("attention.sliding_window");
  if (family->gemma.has_value()) ReadGemma(keys, *family, &config, &origins);
  int64_t period = family->window_period;
  if (local_theta > 0.0) {
    period = keys.Int("attention.sliding_window_pattern", period);
    config.ropes.push_back({.theta = keys.Float("rope.freq_base_swa", local_theta)});
  }
  if (family->windows == Family::Windows::kLaterLayers && layer.window != 0) {
    refusals.Add(
        fmt::format("{} is {}, expected none: which layers of a {} model slide is not said",
                    origins.window.key, layer.window, architecture));
  }
  keys.AddUnknown(&refusals);
  refusals.ThrowIfAny(file.path());

  config.tie_embeddings = FindTensor(files, "output.weight") == nullptr;
  layer.qkv_bias |= FindTensor(files, "blk.0.attn_q.bias") != nullptr;
  config.layers.assign(static_cast<size_t>(n_layers), layer);
  for (int64_t i = period; i > 0 && i <= n_layers; i += period) {
    config.layers[static_cast<size_t>(i - 1)].window = 0;
  }
  for (LayerSpec& spec : config.layers) {
    if (local_theta > 0.0 && spec.window > 0) spec.rope = 1;
  }
  CheckModelConfig(config, origins);
  constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id";
  const std::vector<int64_t> bos =
      ProducibleIds({file.Int(kBos, -1)}, {file.path(), std::string(kBos)}, config.vocab_size);
  config.bos_id = bos.empty() ? -1 : bos.front();
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    ProducibleIds({file.Int(key, -1)}, {file.path(), std::string(key)}, config.vocab_size);
  }
  for (const int64_t id : EndOfGenerationIds(file, config.vocab_size)) {
    if (id >= 0 && id < config.vocab_size) config.eos_ids.push_back(id);
  }
  return config;
}

}  // namespace kvfold
