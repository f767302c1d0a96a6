#include "models/config_keys_json.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace kvfold {
namespace {

// Where it came from, how it was trained, how text is sampled from it (which is asked for by our
// own options), how another program is to run it, how long its texts may be, and the names of
// tokens that nothing here reads.
constexpr std::string_view kHarmlessKeys[] = {
    "attn_implementation",
    "cache_implementation",
    "auto_map",
    "bad_words_ids",
    "base_model",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "custom_pipelines",
    "description",
    "diversity_penalty",
    "dropout",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "guidance_scale",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "language",
    "length_penalty",
    "license",
    "max_length",
    "max_new_tokens",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "max_window_layers",  // of Qwen2 alone, which reads it
    "min_length",
    "min_new_tokens",
    "min_p",
    "model_max_length",
    "model_name",
    "n_ctx",
    "n_positions",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_vocab_size_multiple",
    "pad_vocab_size_to_multiple_of",
    "penalty_alpha",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "seq_len",
    "seq_length",
    "suppress_tokens",
    "tags",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "training_args",
    "trust_remote_code",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "use_reentrant",
    "use_return_dict",
};

// Private notes of transformers, what names a tool, what is of training alone.
constexpr std::string_view kHarmlessPrefixes[] = {
    "_",        "flash_attn",     "gradient_checkpointing", "initializer_",
    "neftune_", "tokenizer_",     "transformers",           "trl_",
    "unsloth_", "use_flash_attn", "use_flash_attention",
};

// Dropout and losses do nothing outside training; a token's name and id are looked up by whoever
// writes the text.
constexpr std::string_view kHarmlessSuffixes[] = {
    "_dropout", "_pdrop",    "_dropout_prob", "_init_std",    "_loss_coef",
    "_token",   "_token_id", "_token_ids",    "_token_index", "_version",
};

struct NeutralValue {
  std::string_view key;
  std::string_view value;  // as JSON
};
// Switches of other models, at the value that means what is computed here.
constexpr NeutralValue kNeutralValues[] = {
    {"attn_logit_softcapping", "0"},
    {"embedding_multiplier", "1"},
    {"final_logit_softcapping", "0"},
    {"is_causal", "true"},
    {"logit_scale", "1"},
    {"logits_scaling", "1"},
    {"n_routed_experts", "0"},
    {"n_shared_experts", "0"},
    {"norm_type", "\"rms_norm\""},
    {"norm_type", "\"rmsnorm\""},
    {"num_experts", "0"},
    {"num_experts_per_tok", "0"},
    {"num_local_experts", "0"},
    {"num_nextn_predict_layers", "0"},
    {"position_embedding_type", "\"rope\""},
    {"position_embedding_type", "\"rotary\""},
    {"residual_multiplier", "1"},
    {"rope_percent", "1"},
    {"rotary_pct", "1"},
    {"rotary_percentage", "1"},
    {"scale_emb", "1"},
    {"use_rms_norm", "true"},
    {"use_rope", "true"},
    {"use_rotary", "true"},
    {"rope_scaling.attention_factor", "1"},
    {"rope_parameters.attention_factor", "1"},
};

struct OtherName {
  std::string_view other;
  std::string_view key;
};
constexpr OtherName kOtherNames[] = {
    {"activation_function", "hidden_act"},
    {"d_model", "hidden_size"},
    {"ffn_hidden_size", "intermediate_size"},
    {"hidden_activation", "hidden_act"},
    {"hidden_dim", "hidden_size"},
    {"layer_norm_eps", "rms_norm_eps"},
    {"layer_norm_epsilon", "rms_norm_eps"},
    {"mlp_hidden_act", "hidden_act"},
    {"n_embd", "hidden_size"},
    {"n_head", "num_attention_heads"},
    {"n_heads", "num_attention_heads"},
    {"n_inner", "intermediate_size"},
    {"n_kv_heads", "num_key_value_heads"},
    {"n_layer", "num_hidden_layers"},
    {"n_layers", "num_hidden_layers"},
    {"norm_eps", "rms_norm_eps"},
    {"num_heads", "num_attention_heads"},
    {"num_kv_heads", "num_key_value_heads"},
    {"num_layers", "num_hidden_layers"},
    {"rotary_emb_base", "rope_theta"},
};

}  // namespace

bool IsHarmlessKey(std::string_view key) {
  // "num_experts_per_token" is no token's name.
  const bool is_count = key.starts_with("num_") || key.starts_with("n_");
  return std::ranges::find(kHarmlessKeys, key) != std::end(kHarmlessKeys) ||
         std::ranges::any_of(kHarmlessPrefixes,
                             [&](std::string_view prefix) { return key.starts_with(prefix); }) ||
         (!is_count && std::ranges::any_of(kHarmlessSuffixes, [&](std::string_view suffix) {
           return key.ends_with(suffix);
         }));
}

bool IsNeutralValue(std::string_view key, const nlohmann::json& value,
                    const nlohmann::json& config) {
  if (value.is_null() || (value.is_boolean() && !value.get<bool>())) return true;
  if ((value.is_object() || value.is_array()) && value.empty()) return true;
  if (value.is_string() && value.get_ref<const std::string&>().empty()) return true;
  for (const NeutralValue& neutral : kNeutralValues) {
    if (neutral.key == key && nlohmann::json::parse(neutral.value) == value) return true;
  }
  for (const OtherName& name : kOtherNames) {
    if (name.other != key) continue;
    const auto known = config.find(name.key);
    if (known != config.end() && *known == value) return true;
  }
  return false;
}

}  // namespace kvfold
