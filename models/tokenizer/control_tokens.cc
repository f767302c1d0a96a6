#include "models/tokenizer/control_tokens.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>

namespace kvfold {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";

constexpr std::array<std::string_view, 19> kEnds = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<turn|>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

// Ends of a text that was filled in, by role; a key of the file comes before the text.
struct FillEnd {
  std::string_view key;
  std::array<std::string_view, 5> texts;
};
constexpr std::array<FillEnd, 3> kFillEnds = {{
    {"tokenizer.ggml.fim_pad_token_id",
     {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id",
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", {"<|file_sep|>"}},
}};

constexpr std::array<std::string_view, 21> kFill = {
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81"
    "begin\xEF\xBD\x9C>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81hole\xEF\xBD\x9C>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<MID>",
    "<|code_middle|>",
    "<|middle|>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81"
    "end\xEF\xBD\x9C>",
};

template <size_t n>
bool Among(const std::array<std::string_view, n>& texts, std::string_view text) {
  return !text.empty() && std::ranges::find(texts, text) != texts.end();
}

// Arrays, or null where there is none of that kind: a file whose tokenizer cannot be read may still
// run by token ids.
const GgufArray* Array(const GgufFile& file, std::string_view key) {
  const GgufValue* const value = file.Find(key);
  return value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
}
const std::vector<std::string_view>* Strings(const GgufFile& file, std::string_view key) {
  const GgufArray* const array = Array(file, key);
  return array != nullptr && array->element_type == GgufType::kString ? &array->strings : nullptr;
}
const GgufArray* Integers(const GgufFile& file, std::string_view key) {
  const GgufArray* const array = Array(file, key);
  if (array == nullptr) return nullptr;
  const GgufType type = array->element_type;
  const bool integers = type != GgufType::kString && type != GgufType::kArray &&
                        type != GgufType::kFloat32 && type != GgufType::kFloat64;
  return integers ? array : nullptr;
}

// A number, or -1 where there is none. Some converters write 2^32 - 1 for "none".
int64_t Id(const GgufFile& file, std::string_view key) {
  const int64_t id = file.Int(key, -1);
  return id == 0xFFFFFFFF ? -1 : id;
}

// What merges make of two tokens, of those in `wanted`.
std::unordered_set<std::string> Merged(const GgufFile& file,
                                       const std::unordered_set<std::string_view>& wanted) {
  std::unordered_set<std::string> made;
  const std::vector<std::string_view>* const merges = Strings(file, kMerges);
  if (merges == nullptr || wanted.empty()) return made;
  std::string whole;
  for (const std::string_view merge : *merges) {
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos) continue;
    whole.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    if (wanted.contains(whole)) made.insert(whole);
  }
  return made;
}

}  // namespace

bool IsControlText(std::string_view text) {
  return Among(kEnds, text) || Among(kFill, text) ||
         std::ranges::any_of(kFillEnds, [&](const FillEnd& end) { return Among(end.texts, text); });
}

std::vector<TokenId> ControlTokensByText(const GgufFile& file) {
  std::vector<TokenId> ids;
  const std::vector<std::string_view>* const tokens = Strings(file, kTokens);
  if (tokens == nullptr) return ids;
  const GgufArray* const types = Integers(file, kTypes);
  const auto ordinary = [&](size_t i) {
    if (types == nullptr || i >= types->count) return true;
    const GgufTokenType type{types->Int(i)};
    return type == GgufTokenType::kNormal || type == GgufTokenType::kByte;
  };
  std::unordered_set<std::string_view> doubtful;
  for (size_t i = 0; i < tokens->size(); ++i) {
    if (ordinary(i) && IsControlText((*tokens)[i])) doubtful.insert((*tokens)[i]);
  }
  const std::unordered_set<std::string> made = Merged(file, doubtful);
  for (size_t i = 0; i < tokens->size(); ++i) {
    const std::string_view text = (*tokens)[i];
    if (!IsControlText(text) || (ordinary(i) && made.contains(std::string(text)))) continue;
    ids.push_back(static_cast<TokenId>(i));
  }
  return ids;
}

std::vector<int64_t> EndOfGenerationIds(const GgufFile& file, int64_t vocab_size) {
  std::vector<int64_t> ids;
  const auto add = [&](int64_t id) {
    if (id != -1 && std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  };
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    add(Id(file, key));
  }
  for (const FillEnd& end : kFillEnds) add(Id(file, end.key));
  const std::vector<TokenId> controls = ControlTokensByText(file);
  if (controls.empty()) return ids;
  const std::vector<std::string_view>& tokens = *Strings(file, kTokens);
  const auto has = [&](std::string_view text) {
    return std::ranges::any_of(controls,
                               [&](TokenId id) { return tokens[static_cast<size_t>(id)] == text; });
  };
  const bool calls = has("<|call|>") || has("<|calls|>");
  const bool end_is_inner = calls && (has("<|return|>") || has("<|flush|>"));
  for (const TokenId id : controls) {
    if (id >= vocab_size) break;  // the model cannot say it
    const std::string_view text = tokens[static_cast<size_t>(id)];
    const bool ends = Among(kEnds, text) || std::ranges::any_of(kFillEnds, [&](const FillEnd& end) {
                        return Among(end.texts, text) && Id(file, end.key) == -1;
                      });
    if (ends) add(id);
  }
  if (end_is_inner) {
    std::erase_if(ids, [&](int64_t id) {
      return id >= 0 && id < static_cast<int64_t>(tokens.size()) &&
             tokens[static_cast<size_t>(id)] == "<|end|>";
    });
  }
  return ids;
}

}  // namespace kvfold
