#include "models/config_json.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "comm/error.h"
#include "models/config_limits.h"
#include "models/config_rope_json.h"
#include "models/json_fields.h"
#include "models/json_file.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr uint64_t kMostConfigBytes = uint64_t{16} << 20;
constexpr int64_t kMostLayers = 1 << 12;

struct Family {
  std::string_view model_type;
  std::string_view architecture;
  bool qkv_bias;
};
constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", false},
    {"mistral", "MistralForCausalLM", false},
    {"qwen2", "Qwen2ForCausalLM", true},
};

// Keys whose value does not change what the model computes: where it came from, how it is trained,
// how text is sampled from it (which is asked for by our own options), and the names of tokens that
// nothing here reads.
constexpr std::string_view kHarmlessKeys[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "attention_dropout",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

const Family& ReadFamily(JsonFields& fields) {
  const auto model_type = fields.String("model_type");
  const auto architectures = fields.Strings("architectures");
  const auto* const family =
      std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const Family& candidate) {
        return model_type.has_value() ? *model_type == candidate.model_type
                                      : architectures.has_value() && architectures->size() == 1 &&
                                            architectures->front() == candidate.architecture;
      });
  if (family == std::end(kFamilies)) {
    fields.Refuse(
        model_type.has_value() || !architectures.has_value() ? "model_type" : "architectures",
        "llama, mistral or qwen2");
  }
  if (architectures.has_value() &&
      *architectures != std::vector<std::string>{std::string(family->architecture)}) {
    fields.Refuse("architectures", fmt::format("[\"{}\"]", family->architecture));
  }
  return *family;
}

// A switch that is understood at one value only.
void ExpectNumber(JsonFields& fields, const std::string& key, double expected,
                  const ConfigOptions& options) {
  if (fields.IsIgnored(key, options.ignored_keys)) return;
  if (fields.Number(key).value_or(expected) != expected) {
    fields.Refuse(key, fmt::format("{}; another value is not supported", expected));
  }
}

// transformers: MistralConfig slides every layer, by 4096 unless told (null: none); Qwen2Config
// slides only with use_sliding_window, and then as layer_types says or, without it, the layers from
// max_window_layers on. Llama never slides.
std::vector<int64_t> ReadWindows(JsonFields& fields, std::string_view model_type,
                                 int64_t n_layers) {
  std::vector<int64_t> windows(n_layers, 0);
  int64_t window = 0;
  int64_t first_sliding_layer = 0;
  if (model_type == "mistral") {
    const bool slides = fields.Bool("use_sliding_window").value_or(true);
    window = fields.HasKey("sliding_window") ? fields.Int("sliding_window").value_or(0) : 4096;
    if (window == 0 && fields.Int("sliding_window").has_value()) {
      fields.Refuse("sliding_window", "null or a positive integer");
    }
    if (!slides) window = 0;
  } else if (model_type == "qwen2") {
    const bool slides = fields.Bool("use_sliding_window").value_or(false);
    window = fields.HasKey("sliding_window") ? fields.Int("sliding_window").value_or(0) : 4096;
    if (!slides) window = 0;
    first_sliding_layer = fields.Int("max_window_layers").value_or(28);
  }
  const auto layer_types = fields.Strings("layer_types");
  if (layer_types.has_value()) {
    if (static_cast<int64_t>(layer_types->size()) != n_layers) {
      fields.Refuse("layer_types", fmt::format("one entry for each of {} layers", n_layers));
    }
    for (int64_t layer = 0; layer < n_layers; ++layer) {
      const std::string& type = (*layer_types)[layer];
      if (type == "sliding_attention" && window != 0) {
        windows[layer] = window;
      } else if (type != "full_attention") {
        fields.Refuse("layer_types",
                      window != 0 ? "\"full_attention\" and \"sliding_attention\" only"
                                  : "\"full_attention\" only where there is no sliding window");
      }
      // transformers' Mistral does not read layer_types: it must say what happens anyway.
      if (model_type == "mistral" && windows[layer] != window) {
        fields.Refuse("layer_types",
                      "\"sliding_attention\" for every layer, as sliding_window is set");
      }
    }
    return windows;
  }
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    if (layer >= first_sliding_layer) windows[layer] = window;
  }
  return windows;
}

void AddEosIds(JsonFields& fields, ModelConfig* config) {
  for (const int64_t id : fields.IntOrInts("eos_token_id").value_or(std::vector<int64_t>{})) {
    if (id == -1) continue;  // some files' way to say "none"
    if (std::find(config->eos_ids.begin(), config->eos_ids.end(), id) == config->eos_ids.end()) {
      config->eos_ids.push_back(id);
    }
  }
}

// Only its token ids matter here: the rest is how to sample, which is asked for on the command
// line.
void ReadGenerationConfig(const std::filesystem::path& file, ModelConfig* config) {
  if (!std::filesystem::exists(file)) return;
  const nlohmann::json json = ReadJsonFile(file, kMostConfigBytes);
  JsonFields fields(json, file.string());
  AddEosIds(fields, config);
  if (config->bos_id == -1) config->bos_id = fields.Int("bos_token_id").value_or(-1);
}

}  // namespace

ModelConfig ReadJsonConfig(const std::filesystem::path& file, const ConfigOptions& options) {
  const nlohmann::json json = ReadJsonFile(file, kMostConfigBytes);
  JsonFields fields(json, file.string());
  const Family& family = ReadFamily(fields);

  ModelConfig config;
  config.architecture = family.model_type;
  config.qkv_bias = family.qkv_bias;
  config.n_layers = fields.RequiredInt("num_hidden_layers");
  if (config.n_layers < 1 || config.n_layers > kMostLayers) {
    fields.Refuse("num_hidden_layers", fmt::format("1 to {}", kMostLayers));
  }
  config.hidden = fields.RequiredInt("hidden_size");
  config.n_heads = fields.RequiredInt("num_attention_heads");
  if (config.n_heads < 1) fields.Refuse("num_attention_heads", "a positive integer");
  // transformers' defaults for Mistral (8) and Qwen2 (32) are those of one model of each: not
  // guessed where the key is missing.
  if (family.model_type != "llama" && !fields.HasKey("num_key_value_heads")) {
    fields.Refuse("num_key_value_heads", "an integer");
  }
  config.n_kv_heads = fields.Int("num_key_value_heads").value_or(config.n_heads);
  const auto head_dim = fields.Int("head_dim");
  if (!head_dim.has_value() && config.hidden % config.n_heads != 0) {
    fields.Refuse("hidden_size",
                  fmt::format("a multiple of {} heads, as head_dim is not given", config.n_heads));
  }
  config.head_dim = head_dim.value_or(config.hidden / config.n_heads);
  config.ffn_dim = fields.RequiredInt("intermediate_size");
  config.vocab_size = fields.RequiredInt("vocab_size");
  config.max_positions = fields.Int("max_position_embeddings")
                             .value_or(family.model_type == "llama"     ? 2048
                                       : family.model_type == "mistral" ? 131072
                                                                        : 32768);
  config.rms_eps = fields.Number("rms_norm_eps").value_or(1e-6);
  config.tie_embeddings = fields.Bool("tie_word_embeddings").value_or(false);
  config.rope = ReadJsonRope(fields, config.max_positions, options);
  config.layer_windows = ReadWindows(fields, family.model_type, config.n_layers);

  const std::string activation = fields.String("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish") fields.Refuse("hidden_act", "\"silu\"");
  ExpectNumber(fields, "pretraining_tp", 1, options);
  ExpectNumber(fields, "partial_rotary_factor", 1, options);
  config.bos_id = fields.Int("bos_token_id").value_or(-1);
  AddEosIds(fields, &config);
  for (const std::string_view key : kHarmlessKeys) fields.HasKey(std::string(key));
  fields.RefuseUnknown(options.ignored_keys);

  ReadGenerationConfig(file.parent_path() / "generation_config.json", &config);
  CheckModelConfig(config, file.string());
  return config;
}

}  // namespace kvfold
