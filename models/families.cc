#include "models/families.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kvfold {
namespace {

using enum Family::Windows;

constexpr Family kFamilies[] = {
    {.model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .gguf_name = "llama",
     .max_positions = 2048},
    {.model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .gguf_name = "",
     .windows = kAllLayers,
     .max_positions = 131072,
     .must_state_kv_heads = true,
     .tokenizer_class = ""},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .gguf_name = "qwen2",
     .windows = kLaterLayers,
     .max_positions = 32768,
     .must_state_kv_heads = true,
     .tokenizer_class = "Qwen2Tokenizer",
     .layer = {.qkv_bias = true}},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .gguf_name = "qwen3",
     .windows = kLaterLayers,
     .max_positions = 32768,
     .must_state_kv_heads = true,
     .must_state_head_dim = true,
     .tokenizer_class = "Qwen2Tokenizer",
     .layer = {.qk_norm = true}},
    {.model_type = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .gguf_name = "gemma2",
     .windows = kPeriodic,
     .window_period = 2,
     .max_positions = 8192,
     .ties_embeddings = true,
     .must_state_kv_heads = true,
     .must_state_head_dim = true,
     .layer = {.post_norms = true},
     .gemma = Family::Gemma{.score_cap = 50.0, .logit_cap = 30.0, .layers_of_27b = 46}},
    {.model_type = "gemma3_text",
     .architecture = "Gemma3ForCausalLM",
     .gguf_name = "gemma3",
     .windows = kPeriodic,
     .window_period = 6,
     .theta = 1e6,
     .max_positions = 131072,
     .ties_embeddings = true,
     .must_state_kv_heads = true,
     .must_state_head_dim = true,
     .layer = {.qk_norm = true, .post_norms = true},
     .gemma = Family::Gemma{.local_theta = 10000.0, .layers_of_27b = 62}},
};

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view model_type) {
  const auto* const found = std::ranges::find(kFamilies, model_type, &Family::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string ListFamilies(std::string_view Family::*name, std::string_view quote) {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) {
    if (!(family.*name).empty()) names.push_back(family.*name);
  }
  std::string list;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) list += i + 1 < names.size() ? ", " : " or ";
    list += fmt::format("{}{}{}", quote, names[i], quote);
  }
  return list;
}

}  // namespace kvfold
