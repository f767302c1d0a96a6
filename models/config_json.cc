#include "models/config_json.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "comm/error.h"
#include "models/checkpoint/model_path.h"
#include "models/config_keys_json.h"
#include "models/config_limits.h"
#include "models/config_refusals.h"
#include "models/config_rope_json.h"
#include "models/families.h"
#include "models/json_fields.h"
#include "models/json_file.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr uint64_t kMostConfigBytes = uint64_t{16} << 20;
constexpr int64_t kMostLayers = 1 << 12;

// What one family is called in "architectures": by transformers today, and earlier. The base model
// is the same without its head, which the tensors then have or lack.
bool IsClassOf(const Family& family, std::string_view name) {
  if (name == family.architecture) return true;
  constexpr std::string_view kEnd = "ForCausalLM";
  const std::string_view stem =
      family.architecture.substr(0, family.architecture.size() - kEnd.size());
  if (name.starts_with(stem) && name.substr(stem.size()) == "Model") return true;
  return family.model_type == "llama" && (name == "LLaMAForCausalLM" || name == "LLaMAModel");
}

// A model of several parts has the config of its language model within its own.
void RefuseWrapper(const JsonFields& fields) {
  for (const char* const part : {"text_config", "llm_config", "language_config"}) {
    const auto inner = fields.object().find(part);
    if (inner == fields.object().end() || !inner->is_object()) continue;
    const auto type = inner->find("model_type");
    throw InputError(fmt::format(
        "{}: {}, a model of several parts whose {} is of {}, expected the config of the language "
        "model alone: save that by itself",
        fields.what(), fields.Found("model_type"), part,
        type != inner->end() && type->is_string()
            ? "model_type " + Quoted(type->get_ref<const std::string&>())
            : "no model_type"));
  }
}

const Family& ReadFamily(JsonFields& fields) {
  const auto model_type = fields.String("model_type");
  const auto architectures = fields.Strings("architectures").value_or(std::vector<std::string>{});
  const auto family = std::ranges::find_if(Families(), [&](const Family& candidate) {
    return model_type.has_value()
               ? *model_type == candidate.model_type
               : !architectures.empty() && IsClassOf(candidate, architectures.front());
  });
  if (family == Families().end()) {
    RefuseWrapper(fields);
    const bool by_type = model_type.has_value() || architectures.empty();
    fields.Refuse(by_type ? "model_type" : "architectures",
                  ListFamilies(by_type ? &Family::model_type : &Family::architecture));
  }
  for (const std::string& name : architectures) {
    if (IsClassOf(*family, name)) continue;
    const bool has_other_head =
        name.find("ForCausalLM") == std::string::npos && name.find("For") != std::string::npos;
    fields.Refuse("architectures",
                  fmt::format("[\"{}\"]{}", family->architecture,
                              has_other_head ? ": it has a head that scores no tokens" : ""));
  }
  return *family;
}

// A switch that is understood at one value only.
void ExpectNumber(JsonFields& fields, const std::string& key, double expected,
                  ConfigRefusals* refusals) {
  if (fields.Number(key).value_or(expected) == expected) return;
  refusals->AddIgnorable(
      fields.Full(key),
      fmt::format("{}, expected {}; another value is not supported", fields.Found(key), expected));
}

// transformers: MistralConfig slides every layer, by 4096 unless told (null: none), and has no key
// use_sliding_window; Qwen2Config slides only with use_sliding_window, and then as layer_types says
// or, without it, the layers from max_window_layers on. Gemma 2 and 3 slide all but every
// second or sixth layer, or as layer_types says. Llama never slides.
void ReadWindows(JsonFields& fields, const Family& family, std::vector<LayerSpec>* layers) {
  const Family::Windows kind = family.windows;
  const auto n_layers = static_cast<int64_t>(layers->size());
  int64_t window = 0;
  int64_t first_sliding_layer = 0;
  int64_t period = family.window_period;
  if (kind == Family::Windows::kAllLayers) {
    window = fields.HasKey("sliding_window") ? fields.Int("sliding_window").value_or(0) : 4096;
    if (window == 0 && fields.Int("sliding_window").has_value()) {
      fields.Refuse("sliding_window", "null or a positive integer");
    }
    if (!fields.Bool("use_sliding_window").value_or(true) && window != 0) {
      spdlog::warn(
          "{}: use_sliding_window is false, but Mistral has no such switch: its layers slide "
          "by {}, as with transformers (sliding_window: null is what keeps them from it)",
          fields.what(), window);
    }
  } else if (kind == Family::Windows::kLaterLayers) {
    const bool slides = fields.Bool("use_sliding_window").value_or(false);
    window = fields.HasKey("sliding_window") ? fields.Int("sliding_window").value_or(0) : 4096;
    if (!slides) window = 0;
    first_sliding_layer = fields.Int("max_window_layers").value_or(28);
  } else if (kind == Family::Windows::kPeriodic) {
    window = fields.HasKey("sliding_window") ? fields.Int("sliding_window").value_or(0) : 4096;
    // Gemma 2 has no such key.
    if (family.local_theta() > 0.0) period = fields.Int("sliding_window_pattern").value_or(period);
    if (period < 1) fields.Refuse("sliding_window_pattern", "a positive integer");
  }
  const auto layer_types = fields.Strings("layer_types");
  if (layer_types.has_value()) {
    if (static_cast<int64_t>(layer_types->size()) != n_layers) {
      fields.Refuse("layer_types", fmt::format("one entry for each of {} layers", n_layers));
    }
    for (int64_t layer = 0; layer < n_layers; ++layer) {
      const std::string& type = (*layer_types)[layer];
      if (type == "sliding_attention" && window != 0) {
        (*layers)[layer].window = window;
      } else if (type != "full_attention") {
        fields.Refuse("layer_types",
                      window != 0 ? "\"full_attention\" and \"sliding_attention\" only"
                                  : "\"full_attention\" only where there is no sliding window");
      }
      // transformers' Mistral does not read layer_types: it must say what happens anyway.
      if (kind == Family::Windows::kAllLayers && (*layers)[layer].window != window) {
        fields.Refuse("layer_types",
                      "\"sliding_attention\" for every layer, as sliding_window is set");
      }
    }
    return;
  }
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    const bool sees_all = period > 0 && (layer + 1) % period == 0;
    if (layer >= first_sliding_layer && !sees_all) (*layers)[layer].window = window;
  }
}

Origin Of(const JsonFields& fields, const std::string& key) {
  return {fields.what(), fields.Full(key)};
}

// Its norms multiply by 1 + w, its embeddings by the root of their width in float32, and its scores
// by query_pre_attn_scalar instead of head_dim (modeling_gemma2.py). hidden_act is not read
// there. A layer of Gemma 3 that slides has a RoPE of its own.
void ReadGemma(JsonFields& fields, const Family::Gemma& defaults, ModelConfig* config,
               ConfigOrigins* origins, ConfigRefusals* refusals) {
  config->activation = Activation::kGeluTanh;
  config->norm_offset = 1.0;
  config->embedding_scale = std::sqrt(static_cast<float>(config->hidden));
  const auto cap = [&](const char* key, double fallback, double* value, Origin* origin) {
    *value = fields.HasKey(key) ? fields.Number(key).value_or(0.0) : fallback;
    *origin = Of(fields, key);
  };
  if (defaults.score_cap > 0.0) {  // transformers' Gemma 3 does not compute with it
    cap("attn_logit_softcapping", defaults.score_cap, &config->score_cap, &origins->score_cap);
  }
  cap("final_logit_softcapping", defaults.logit_cap, &config->logit_cap, &origins->logit_cap);
  const double scalar = fields.Number("query_pre_attn_scalar").value_or(256.0);
  config->attention_scale = 1.0 / std::sqrt(scalar);
  origins->attention_scale = Of(fields, "1 / sqrt(query_pre_attn_scalar)");
  fields.HasKey("hidden_act");
  const std::string activation = fields.String("hidden_activation").value_or("gelu_pytorch_tanh");
  if (activation != "gelu_pytorch_tanh") {
    refusals->Add(
        fmt::format("{}, expected \"gelu_pytorch_tanh\"", fields.Found("hidden_activation")));
  }
}

// Of config.json or generation_config.json. Of the latter only its token ids matter: the rest is
// how to sample, which is asked for on the command line.
void ReadTokenIds(JsonFields& fields, ModelConfig* config) {
  AddEosIds(fields.IntOrInts("eos_token_id").value_or(std::vector<int64_t>{}),
            Of(fields, "eos_token_id"), config);
  const std::vector<int64_t> bos = ProducibleIds({fields.Int("bos_token_id").value_or(-1)},
                                                 Of(fields, "bos_token_id"), config->vocab_size);
  if (config->bos_id == -1 && !bos.empty()) config->bos_id = bos.front();
}

void AddUnknownKeys(const JsonFields& fields, ConfigRefusals* refusals) {
  for (const std::string& key : fields.UnknownKeys()) {
    const nlohmann::json& value = fields.object()[key];
    if (IsHarmlessKey(key) || IsNeutralValue(key, value, fields.object())) continue;
    refusals->AddUnknown(key, fields.FoundUnknown(key));
  }
}

bool HasNone(const JsonFields& fields, std::initializer_list<const char*> keys) {
  return std::none_of(keys.begin(), keys.end(),
                      [&](const char* key) { return fields.object().contains(key); });
}

// A JSON file that somebody named in place of a config.
void RefuseOtherJson(const JsonFields& fields) {
  if (HasNone(fields, {"model_type", "architectures", "hidden_size"})) {
    const bool is_index = !HasNone(fields, {"weight_map"});
    const bool is_tokenizer =
        !HasNone(fields, {"added_tokens", "pre_tokenizer", "tokenizer_class"});
    throw InputError(fmt::format(
        "{}: {} (it has neither model_type nor architectures), expected a Hugging Face folder, its "
        "config.json or a .gguf file",
        fields.what(),
        is_index       ? "an index of safetensors files, no config"
        : is_tokenizer ? "a tokenizer's file, no config"
                       : "no config of a model"));
  }
}

}  // namespace

ModelConfig ReadJsonConfig(const std::filesystem::path& file, const ConfigOptions& options) {
  const nlohmann::json json = ReadJsonFile(file, kMostConfigBytes);
  JsonFields fields(json, file.string());
  RefuseOtherJson(fields);
  const Family& family = ReadFamily(fields);
  ConfigRefusals refusals(options);

  ModelConfig config;
  ConfigOrigins origins;
  const auto required = [&](const std::string& key, Origin* origin) {
    *origin = Of(fields, key);
    return fields.At(key).Int();
  };
  config.architecture = family.model_type;
  const int64_t n_layers = required("num_hidden_layers", &origins.n_layers);
  if (n_layers < 1 || n_layers > kMostLayers) {
    fields.Refuse("num_hidden_layers", fmt::format("1 to {}", kMostLayers));
  }
  config.layers.assign(static_cast<size_t>(n_layers), family.layer);
  config.hidden = required("hidden_size", &origins.hidden);
  config.n_heads = required("num_attention_heads", &origins.n_heads);
  if (config.n_heads < 1) fields.Refuse("num_attention_heads", "a positive integer");
  if (family.must_state_kv_heads && !fields.HasKey("num_key_value_heads")) {
    fields.Refuse("num_key_value_heads", "an integer");
  }
  config.n_kv_heads = fields.Int("num_key_value_heads").value_or(config.n_heads);
  origins.n_kv_heads = Of(fields, "num_key_value_heads");
  const auto head_dim = fields.Int("head_dim");
  if (family.must_state_head_dim && !head_dim) fields.Refuse("head_dim", "an integer");
  if (!head_dim.has_value() && config.hidden % config.n_heads != 0) {
    fields.Refuse("hidden_size",
                  fmt::format("a multiple of {} heads, as head_dim is not given", config.n_heads));
  }
  config.head_dim = head_dim.value_or(config.hidden / config.n_heads);
  origins.head_dim =
      Of(fields, head_dim.has_value() ? "head_dim" : "hidden_size / num_attention_heads");
  config.ffn_dim = required("intermediate_size", &origins.ffn_dim);
  config.vocab_size = required("vocab_size", &origins.vocab_size);
  config.max_positions = fields.Int("max_position_embeddings").value_or(family.max_positions);
  origins.max_positions = Of(fields, "max_position_embeddings");
  config.rms_eps = fields.Number("rms_norm_eps").value_or(1e-6);
  origins.rms_eps = Of(fields, "rms_norm_eps");
  config.tie_embeddings = fields.Bool("tie_word_embeddings").value_or(family.ties_embeddings);
  ReadWindows(fields, family, &config.layers);
  if (const double local = family.local_theta(); local > 0.0) {
    config.ropes =
        ReadJsonRopes(fields, family.theta, local, config.max_positions, &origins, &refusals);
    for (LayerSpec& layer : config.layers) layer.rope = layer.window > 0 ? 1 : 0;
  } else {
    config.ropes = {ReadJsonRope(fields, family.theta, config.max_positions, &origins, &refusals)};
  }
  origins.window = Of(fields, "sliding_window");

  if (family.gemma.has_value()) {
    ReadGemma(fields, *family.gemma, &config, &origins, &refusals);
  } else {
    const std::string activation = fields.String("hidden_act").value_or("silu");
    if (activation != "silu" && activation != "swish") {
      refusals.Add(fmt::format("{}, expected \"silu\"", fields.Found("hidden_act")));
    }
  }
  ExpectNumber(fields, "pretraining_tp", 1, &refusals);
  ExpectNumber(fields, "partial_rotary_factor", 1, &refusals);
  for (const char* const key : {"bos_token_id", "eos_token_id"}) fields.HasKey(key);
  AddUnknownKeys(fields, &refusals);
  refusals.ThrowIfAny(fields.what());

  CheckModelConfig(config, origins);
  ReadTokenIds(fields, &config);
  const std::filesystem::path generation_file = file.parent_path() / "generation_config.json";
  if (HasEntry(generation_file)) {
    const nlohmann::json generation_json = ReadJsonFile(generation_file, kMostConfigBytes);
    JsonFields generation(generation_json, generation_file.string());
    ReadTokenIds(generation, &config);
  }
  return config;
}

}  // namespace kvfold
