#include "models/tokenizer/folder_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "comm/error.h"
#include "models/checkpoint/mapped_file.h"
#include "models/families.h"
#include "models/json_field.h"
#include "models/json_file.h"
#include "models/quoted.h"
#include "models/tokenizer/bpe_tokenizer.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kMostBytes = uint64_t{16} << 20;
constexpr std::array<std::string_view, 7> kNames = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// Classes of transformers that build a tokenizer anew, with tokens of their own.
struct OwnClass {
  std::string_view name;
  std::array<std::pair<std::string_view, std::string_view>, 4> tokens;
};
constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::array<OwnClass, 4> kOwnClasses = {{
    {"GPT2Tokenizer",
     {{{"unk_token", kEndOfText}, {"bos_token", kEndOfText}, {"eos_token", kEndOfText}}}},
    {"Qwen2Tokenizer",
     {{{"unk_token", kEndOfText}, {"eos_token", kEndOfText}, {"pad_token", kEndOfText}}}},
    {"CodeGenTokenizer",
     {{{"unk_token", kEndOfText}, {"bos_token", kEndOfText}, {"eos_token", kEndOfText}}}},
    {"GPTNeoXTokenizer",
     {{{"unk_token", kEndOfText},
       {"bos_token", kEndOfText},
       {"eos_token", kEndOfText},
       {"pad_token", "<|padding|>"}}}},
}};

// A JSON object of a file; keys are in the file's order as well, since tokens get their ids in it.
struct Config {
  Json object = Json::object();
  nlohmann::ordered_json ordered = nlohmann::ordered_json::object();
  std::string where;

  bool Has(std::string_view key) const {
    const auto found = object.find(key);
    return found != object.end() && !found->is_null();
  }
  JsonField At(std::string_view key) const {
    return {Has(key) ? &*object.find(key) : nullptr, fmt::format("{}: {}", where, key)};
  }
};

Config ReadConfig(const std::filesystem::path& path) {
  Config config;
  config.where = path.string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return config;
  config.object = ReadJsonFile(path, kMostBytes);
  if (!config.object.is_object()) {
    throw InputError(fmt::format("{} is no JSON object", config.where));
  }
  const MappedFile file(path);
  const auto* const text = reinterpret_cast<const char*>(file.data());
  config.ordered = nlohmann::ordered_json::parse(text, text + file.size_bytes());
  return config;
}

// A token by its text alone, then a special one, or an object with the fields of transformers'
// AddedToken.
AddedToken ReadToken(const JsonField& field, bool always_special = false) {
  AddedToken token;
  token.id = AddedToken::kNoId;
  token.where = field.where();
  if (field.value().is_string()) {
    token.content = field.String();
    token.special = true;
    return token;
  }
  if (!field.value().is_object()) field.Wrong("a string or an object with its content");
  token.content = field.At("content").String();
  token.special = always_special || field.At("special").Bool(false);
  token.single_word = field.At("single_word").Bool(false);
  token.lstrip = field.At("lstrip").Bool(false);
  token.rstrip = field.At("rstrip").Bool(false);
  token.normalized = field.At("normalized").Bool(!token.special);
  return token;
}

TokenId ReadId(const std::string& text, const JsonField& where) {
  int64_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 ||
      id >= BpeTokenizerSpec::kMostTokens) {
    throw InputError(fmt::format("{} has the key {}, expected a token id from 0 to {}",
                                 where.where(), Quoted(text), BpeTokenizerSpec::kMostTokens - 1));
  }
  return static_cast<TokenId>(id);
}

bool IsStandard(std::string_view name) { return std::ranges::find(kNames, name) != kNames.end(); }

class Reader {
 public:
  explicit Reader(const std::filesystem::path& folder)
      : folder_(folder), config_(ReadConfig(folder / "tokenizer_config.json")) {}

  FolderTokens Read() {
    if (config_.At("split_special_tokens").Bool(false)) {
      config_.At("split_special_tokens").Wrong("false: special tokens in a text are not split");
    }
    if (const OwnClass* own = FindOwnClass()) {
      folder_tokens_.adds_prefix_space = config_.At("add_prefix_space").Bool(false);
      SetDefaults(*own);
    }
    for (const std::string_view name : kNames) SetNamed(config_, name, false);
    ReadExtra();
    folder_tokens_.legacy = !config_.Has("added_tokens_decoder");
    if (folder_tokens_.legacy) {
      ReadSpecialTokensMap(ReadConfig(folder_ / "special_tokens_map.json"));
    } else {
      ReadDecoder(config_.At("added_tokens_decoder"));
    }
    // Names of a model's own stand behind the standard ones: objects before strings.
    for (const auto* const names : {&own_objects_, &own_strings_}) {
      for (const auto& [name, token] : *names) Set(name, token);
    }
    Order();
    if (folder_tokens_.legacy) ReadAddedTokensJson(ReadConfig(folder_ / "added_tokens.json"));
    // Those of the map are not among what makes a token of added_tokens.json special.
    if (additional_of_map_.has_value() && folder_tokens_.extra.empty())
      ReadList(*additional_of_map_);
    return std::move(folder_tokens_);
  }

 private:
  using Named = std::pair<std::string, AddedToken>;

  // The class of transformers that builds such a tokenizer anew, or null.
  const OwnClass* FindOwnClass() const {
    std::string_view name;
    const JsonField tokenizer_class = config_.At("tokenizer_class");
    if (tokenizer_class.value().is_string()) name = tokenizer_class.String();
    if (name.ends_with("Fast")) name.remove_suffix(4);
    const Json model = ReadConfig(folder_ / "config.json").object;
    const auto model_type = model.find("model_type");
    if (model_type != model.end() && model_type->is_string()) {
      const Family* const family = FindFamily(model_type->get_ref<const std::string&>());
      if (family != nullptr) name = family->tokenizer_class.value_or(name);
    }
    const auto found = std::ranges::find(kOwnClasses, name, &OwnClass::name);
    return found == kOwnClasses.end() ? nullptr : &*found;
  }

  // What a class calls its tokens where the files do not name them, nor say that there are none.
  void SetDefaults(const OwnClass& own) {
    for (const auto& [name, content] : own.tokens) {
      if (name.empty() || config_.object.contains(name)) continue;
      AddedToken token;
      token.id = AddedToken::kNoId;
      token.content = content;
      token.special = true;
      Set(name, token);
    }
  }

  void Set(std::string_view name, const AddedToken& token) {
    auto& named = folder_tokens_.named;
    const auto found = std::ranges::find(named, name, &Named::first);
    if (found != named.end()) {
      found->second = token;
    } else {
      named.emplace_back(name, token);
    }
  }
  void SetNamed(const Config& config, std::string_view name, bool always_special) {
    if (config.Has(name)) Set(name, ReadToken(config.At(name), always_special));
  }
  // The standard names come in an order of their own, whatever the files' is.
  void Order() {
    std::ranges::stable_sort(folder_tokens_.named, {}, [](const Named& named) {
      return std::ranges::find(kNames, named.first) - kNames.begin();
    });
  }

  void ReadList(const JsonField& list, bool always_special = false) {
    for (size_t i = 0; i < list.Array().size(); ++i) {
      const AddedToken token = ReadToken(list.At(i), always_special);
      const bool known = std::ranges::any_of(folder_tokens_.extra, [&](const AddedToken& other) {
        return other.content == token.content;
      });
      if (!known) folder_tokens_.extra.push_back(token);
    }
  }
  // extra_special_tokens: named ones, or a list.
  void ReadExtraTokens(const Config& config, bool always_special) {
    const JsonField extra = config.At("extra_special_tokens");
    if (!extra.value().is_object()) return ReadList(extra, always_special);
    for (const auto& [name, ignored] : config.ordered["extra_special_tokens"].items())
      own_strings_.emplace_back(name, ReadToken(extra.At(name)));
  }

  void ReadExtra() {
    for (const auto& [name, value] : config_.ordered.items()) {
      if (!name.ends_with("_token") || IsStandard(name)) continue;
      const JsonField field = config_.At(name);
      if (value.is_string()) own_strings_.emplace_back(name, ReadToken(field));
      if (value.is_object() && value.contains("__type"))
        own_objects_.emplace_back(name, ReadToken(field));
    }
    const bool has_extra =
        config_.Has("extra_special_tokens") && !config_.At("extra_special_tokens").value().empty();
    if (has_extra) ReadExtraTokens(config_, false);
    // Without extra ones, or beside named ones, the older field counts.
    if (config_.Has("additional_special_tokens") &&
        (!has_extra || config_.At("extra_special_tokens").value().is_object())) {
      ReadList(config_.At("additional_special_tokens"));
    }
  }

  void ReadSpecialTokensMap(const Config& map) {
    for (const auto& [name, value] : map.ordered.items()) {
      if (value.is_null()) {
        std::erase_if(folder_tokens_.named,
                      [&name = name](const Named& named) { return named.first == name; });
      } else if (IsStandard(name)) {
        SetNamed(map, name, true);
      } else if (name == "extra_special_tokens") {
        ReadExtraTokens(map, true);
      } else if (name == "additional_special_tokens") {
        map_ = map.object;
        additional_of_map_.emplace(map_[name], map.At(name).where());
      } else if (name.ends_with("_token") && (value.is_string() || value.is_object())) {
        own_objects_.emplace_back(name, ReadToken(map.At(name), true));
      }
    }
  }

  void ReadDecoder(const JsonField& decoder) {
    std::map<TokenId, AddedToken> by_id;
    for (const auto& [key, value] : decoder.Object().items()) {
      const JsonField field = decoder.At(key);
      if (!value.is_object()) field.Wrong("an object");
      AddedToken token = ReadToken(field);
      token.id = ReadId(key, decoder);
      by_id[token.id] = std::move(token);
    }
    for (auto& [id, token] : by_id) folder_tokens_.added.push_back(std::move(token));
  }

  void ReadAddedTokensJson(const Config& ids) {
    std::map<TokenId, AddedToken> by_id;
    for (const auto& [content, ignored] : ids.object.items()) {
      const auto is_content = [&content = content](const AddedToken& token) {
        return token.content == content;
      };
      AddedToken token;
      token.id = static_cast<TokenId>(ids.At(content).Int(BpeTokenizerSpec::kMostTokens - 1));
      token.where = ids.At(content).where();
      token.content = content;
      token.special = std::ranges::any_of(folder_tokens_.extra, is_content) ||
                      std::ranges::any_of(folder_tokens_.named, [&](const Named& named) {
                        return is_content(named.second);
                      });
      token.normalized = !token.special;
      by_id[token.id] = std::move(token);
    }
    for (auto& [id, token] : by_id) folder_tokens_.added.push_back(std::move(token));
  }

  std::filesystem::path folder_;
  Config config_;
  FolderTokens folder_tokens_;
  Json map_;  // special_tokens_map.json
  std::optional<JsonField> additional_of_map_;
  std::vector<Named> own_objects_;
  std::vector<Named> own_strings_;
};

}  // namespace

std::string_view FolderTokens::Text(std::string_view name) const {
  for (const auto& [other, token] : named) {
    if (other == name) return token.content;
  }
  return "";
}

FolderTokens ReadFolderTokens(const std::filesystem::path& folder) { return Reader(folder).Read(); }

void AddFolderTokens(const FolderTokens& folder, std::vector<AddedToken>& added) {
  // Told before any is added: whether a token is added again goes by what stood there at first.
  std::vector<AddedToken> more = folder.added;
  if (folder.legacy) {
    // Those of tokenizer.json are taken once more, each in place of another of its id.
    std::map<TokenId, AddedToken> by_id;
    for (const AddedToken& token : more) by_id[token.id] = token;
    for (const AddedToken& token : added) by_id[token.id] = token;
    more.clear();
    for (const auto& [id, token] : by_id) more.push_back(token);
  }
  const auto stands_in = [](const std::vector<AddedToken>& tokens, const std::string& content) {
    return std::ranges::find(tokens, content, &AddedToken::content) != tokens.end();
  };
  const auto add_new = [&](const AddedToken& token) {
    if (!stands_in(added, token.content) && !stands_in(more, token.content)) more.push_back(token);
  };
  for (const auto& [name, token] : folder.named) add_new(token);
  for (const AddedToken& token : folder.extra) add_new(token);
  for (AddedToken& token : more) {
    const bool is_named = std::ranges::any_of(
        folder.named, [&](const auto& named) { return named.second.content == token.content; });
    if (is_named) token.special = true;
    added.push_back(std::move(token));
  }
}

}  // namespace kvfold
