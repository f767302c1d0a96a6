#include "models/tokenizer/tokenizer_gguf.h"

#include <array>
#include <unordered_map>
#include <utility>

#include "comm/error.h"
#include "models/checkpoint/gguf_file.h"
#include "models/quoted.h"
#include "models/tokenizer/bpe_tokenizer.h"
#include "models/tokenizer/control_tokens.h"
#include "models/tokenizer/regex_translation.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

// What a name under tokenizer.ggml.pre stands for: the part of the model's own tokenizer.json that
// GGUF leaves out.
struct Family {
  std::string_view name;
  std::string_view regex;
  bool individual_digits = false;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // where the file has no add_bos_token
};

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<Family, 8> kFamilies = {{
    {"gpt-2", kGpt2Regex, false, false, false, false},
    {"gpt2", kGpt2Regex, false, false, false, false},
    {"smollm", kGpt2Regex, true, false, false, false},
    {"llama-bpe", kLlama3, false, false, true, true},
    {"llama3", kLlama3, false, false, true, true},
    {"llama-v3", kLlama3, false, false, true, true},
    {"qwen2", kQwen2, false, true, false, false},
    {"tekken", kTekken, false, false, true, true},
}};

const Family& FindFamily(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.ggml.pre";
  const std::string_view name = file.String(kKey, "");
  for (const Family& family : kFamilies) {
    if (family.name == name) return family;
  }
  throw InputError(
      fmt::format("{}: {} is {}, expected one of gpt-2, smollm, llama-bpe, qwen2, tekken; the "
                  "model runs by token ids",
                  file.path(), kKey, name.empty() ? "missing" : Quoted(name)));
}

// Placeholders ("<unused>", many times) whose text is another token's too, and tokens without text:
// no text becomes one of them. Of placeholders alone the last keeps the text, as in llama.cpp.
std::vector<bool> ShadowedTokens(const std::vector<std::string_view>& tokens,
                                 const std::vector<int64_t>& types) {
  std::vector<bool> shadowed(tokens.size());
  std::unordered_map<std::string_view, size_t> owners;
  owners.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty()) {
      shadowed[i] = true;
      continue;
    }
    const auto [owner, is_new] = owners.try_emplace(tokens[i], i);
    if (is_new) continue;
    if (GgufTokenType{types[owner->second]} == GgufTokenType::kUnused) {
      shadowed[owner->second] = true;
      owner->second = i;
    } else if (GgufTokenType{types[i]} == GgufTokenType::kUnused) {
      shadowed[i] = true;
    }
  }
  return shadowed;
}

void ReadTokens(const GgufFile& file, BpeTokenizerSpec& spec) {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
  const std::vector<std::string_view>& tokens = file.StringArray(kTokens);
  if (tokens.empty() || tokens.size() > BpeTokenizerSpec::kMostTokens) {
    throw InputError(fmt::format("{}: {} has {} tokens, expected 1 to {}", file.path(), kTokens,
                                 tokens.size(), BpeTokenizerSpec::kMostTokens));
  }
  std::vector<int64_t> types(tokens.size(), static_cast<int64_t>(GgufTokenType::kNormal));
  if (file.Has(kTypes)) types = file.IntArray(kTypes);
  if (types.size() != tokens.size()) {
    throw InputError(fmt::format("{}: {} has {} entries, expected {} as {}", file.path(), kTypes,
                                 types.size(), tokens.size(), kTokens));
  }
  for (const TokenId id : ControlTokensByText(file)) {
    types[static_cast<size_t>(id)] = static_cast<int64_t>(GgufTokenType::kControl);
  }
  const std::vector<bool> shadowed = ShadowedTokens(tokens, types);
  spec.vocabulary.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (FindInvalidUtf8(tokens[i]) != std::string_view::npos) {
      throw InputError(fmt::format("{}: {}[{}] is {}, expected UTF-8", file.path(), kTokens, i,
                                   Quoted(tokens[i])));
    }
    const auto id = static_cast<TokenId>(i);
    const GgufTokenType type{types[i]};
    if (shadowed[i]) {
      spec.unreachable.emplace_back(tokens[i], id);
      continue;
    }
    spec.vocabulary.emplace_back(tokens[i], id);
    if (type != GgufTokenType::kControl && type != GgufTokenType::kUserDefined) continue;
    AddedToken added;
    added.id = id;
    added.content = tokens[i];
    added.special = type == GgufTokenType::kControl;
    spec.added.push_back(std::move(added));
  }
}

void ReadMerges(const GgufFile& file, BpeTokenizerSpec& spec) {
  constexpr std::string_view kMerges = "tokenizer.ggml.merges";
  const std::vector<std::string_view>& merges = file.StringArray(kMerges);
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ');
    if (space == std::string_view::npos ||
        merges[i].find(' ', space + 1) != std::string_view::npos) {
      throw InputError(
          fmt::format("{}: {}[{}] is {}, expected two tokens with one space between them",
                      file.path(), kMerges, i, Quoted(merges[i])));
    }
    spec.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
}

// The token that `id_key` names, if `switch_key` says that a text gets it.
std::vector<TokenId> ReadAround(const GgufFile& file, std::string_view switch_key, bool fallback,
                                std::string_view id_key, int64_t n_tokens) {
  if (!file.Bool(switch_key, fallback)) return {};
  const int64_t id = file.Int(id_key);
  if (id < 0 || id >= n_tokens) {
    throw InputError(fmt::format("{}: {} is {}, expected a token id below {}", file.path(), id_key,
                                 id, n_tokens));
  }
  return {static_cast<TokenId>(id)};
}

}  // namespace

std::unique_ptr<Tokenizer> OpenTokenizerGguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  const std::string_view model = file.String(kModel);
  if (model == "llama") {
    throw InputError(
        fmt::format("{}: {} is \"llama\", a SentencePiece vocabulary, which is not supported yet; "
                    "the model runs by token ids",
                    file.path(), kModel));
  }
  if (model != "gpt2") {
    throw InputError(
        fmt::format("{}: {} is {}, expected \"gpt2\" (byte-level BPE); the model runs by token ids",
                    file.path(), kModel, Quoted(model)));
  }
  const Family& family = FindFamily(file);
  BpeTokenizerSpec spec;
  spec.where = file.path();
  ReadTokens(file, spec);
  ReadMerges(file, spec);
  spec.nfc = family.nfc;
  spec.options.ignore_merges = family.ignore_merges;
  if (family.individual_digits) spec.pre_tokenizer.Add(PreTokenizer::Digits{true});
  spec.pre_tokenizer.Add(
      PreTokenizer::Split{SplitRegex(TranslateRegex(family.regex, file.path()), file.path()),
                          SplitBehavior::kIsolated, false});
  const auto n_tokens = static_cast<int64_t>(spec.vocabulary.size() + spec.unreachable.size());
  spec.prefix = ReadAround(file, "tokenizer.ggml.add_bos_token", family.adds_bos,
                           "tokenizer.ggml.bos_token_id", n_tokens);
  spec.suffix = ReadAround(file, "tokenizer.ggml.add_eos_token", false,
                           "tokenizer.ggml.eos_token_id", n_tokens);
  return std::make_unique<BpeTokenizer>(std::move(spec));
}

}  // namespace kvfold
