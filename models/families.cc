#include "models/families.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kvfold {
namespace {

using enum Family::Windows;

constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", true, kNone, 2048, false, false, {}, {}},
    {"mistral", "MistralForCausalLM", false, kAllLayers, 131072, true, false, "", {}},
    {"qwen2",
     "Qwen2ForCausalLM",
     true,
     kLaterLayers,
     32768,
     true,
     false,
     "Qwen2Tokenizer",
     {.qkv_bias = true}},
    {"qwen3",
     "Qwen3ForCausalLM",
     true,
     kLaterLayers,
     32768,
     true,
     true,
     "Qwen2Tokenizer",
     {.qk_norm = true}},
};

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view model_type) {
  const auto* const found = std::ranges::find(kFamilies, model_type, &Family::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string ListFamilies(std::string_view Family::*name, std::string_view quote, bool of_gguf) {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) {
    if (family.in_gguf || !of_gguf) names.push_back(family.*name);
  }
  std::string list;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) list += i + 1 < names.size() ? ", " : " or ";
    list += fmt::format("{}{}{}", quote, names[i], quote);
  }
  return list;
}

}  // namespace kvfold
