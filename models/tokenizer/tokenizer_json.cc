#include "models/tokenizer/tokenizer_json.h"

#include <utility>

#include "comm/error.h"
#include "models/json_fields.h"
#include "models/json_file.h"
#include "models/quoted.h"
#include "models/tokenizer/bpe_tokenizer.h"
#include "models/tokenizer/folder_tokens.h"
#include "models/tokenizer/tokenizer_json_parts.h"

namespace kvfold {
namespace {

void RefuseOtherModels(const JsonField& model) {
  const JsonField type = model.At("type");
  // Files from before 2020 do not name the type of a BPE model.
  const std::string name = type.IsNull() ? "BPE" : type.String();
  if (name == "Unigram" || (name == "BPE" && model.At("byte_fallback").Bool(false))) {
    throw InputError(
        fmt::format("{} is a SentencePiece vocabulary, which is not supported yet; the model runs "
                    "by token ids",
                    model.where()));
  }
  if (name != "BPE") {
    throw InputError(
        fmt::format("{} is {}, expected \"BPE\" (byte-level); the model runs by token ids",
                    type.where(), Quoted(name)));
  }
}

void ReadMerges(const JsonField& merges, BpeTokenizerSpec& spec) {
  spec.merges.reserve(merges.Array().size());
  for (size_t i = 0; i < merges.value().size(); ++i) {
    const nlohmann::json& merge = merges.value()[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      spec.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    if (!merge.is_string()) merges.At(i).Wrong("\"left right\" or [left, right]");
    const std::string& text = merge.get_ref<const std::string&>();
    if (text.starts_with("#version")) continue;
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      merges.At(i).Wrong("two tokens with one space between them");
    }
    spec.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
}

void ReadModel(const JsonField& model, BpeTokenizerSpec& spec) {
  RefuseOtherModels(model);
  model.ExpectKeys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                    "merges"});
  if (!model.At("dropout").IsNull() && model.At("dropout").value() != 0.0) {
    model.At("dropout").Wrong("null: encoding must not be random");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonField affix = model.At(key);
    if (!affix.IsNull() && !affix.String().empty()) affix.Wrong("null");
  }
  const JsonField vocabulary = model.At("vocab");
  spec.vocabulary.reserve(vocabulary.Object().size());
  for (const auto& [token, id] : vocabulary.value().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= BpeTokenizerSpec::kMostTokens) {
      vocabulary.At(token).Wrong(
          fmt::format("an id from 0 to {}", BpeTokenizerSpec::kMostTokens - 1));
    }
    spec.vocabulary.emplace_back(token, static_cast<TokenId>(id.get<uint64_t>()));
  }
  ReadMerges(model.At("merges"), spec);
  spec.options.ignore_merges = model.At("ignore_merges").Bool(false);
  spec.options.fuse_unknown = model.At("fuse_unk").Bool(false);
  const JsonField unknown = model.At("unk_token");
  if (!unknown.IsNull()) {
    const auto id = vocabulary.value().find(unknown.String());
    if (id == vocabulary.value().end()) unknown.Wrong("null or a token of the vocabulary");
    spec.options.unknown_id = id->get<TokenId>();
  }
}

// `beside` null: the file alone.
std::unique_ptr<Tokenizer> Open(const std::filesystem::path& path, const FolderTokens* beside) {
  constexpr uint64_t kMostBytes = uint64_t{256} << 20;  // the largest in use have some 40 MiB
  nlohmann::json root = ReadJsonFile(path, kMostBytes);
  for (const char* const key : {"model_type", "architectures", "weight_map"}) {
    if (!root.is_object() || !root.contains(key) || root.contains("model")) continue;
    throw InputError(fmt::format(
        "{}: no tokenizer's file (it has a {}), expected the folder of a model, its tokenizer.json "
        "or a .gguf file",
        path.string(), key));
  }
  JsonFields whole(root, path.string());
  BpeTokenizerSpec spec;
  spec.where = path.string();
  // The model first: a vocabulary of another kind is refused as that, not by one of its parts.
  // "truncation" and "padding" are what a caller would do to the ids, and no caller here does.
  ReadModel(whole.At("model"), spec);
  ReadNormalizer(whole.At("normalizer"), spec);
  ReadPreTokenizer(whole.At("pre_tokenizer"), spec);
  ReadPostProcessor(whole.At("post_processor"), spec);
  ReadDecoder(whole.At("decoder"));
  ReadAddedTokens(whole.At("added_tokens"), spec);
  if (beside != nullptr) {
    AddFolderTokens(*beside, spec.added);
    const bool adds = spec.pre_tokenizer.adds_prefix_space();
    if (beside->adds_prefix_space.value_or(adds) != adds) {
      throw InputError(
          fmt::format("{}: add_prefix_space is {}, expected {} as the tokenizer class of "
                      "tokenizer_config.json has it",
                      path.string(), adds, !adds));
    }
  }
  root = nullptr;
  return std::make_unique<BpeTokenizer>(std::move(spec));
}

}  // namespace

std::unique_ptr<Tokenizer> OpenTokenizerJson(const std::filesystem::path& path) {
  return Open(path, nullptr);
}

std::unique_ptr<Tokenizer> OpenTokenizerFolder(const std::filesystem::path& folder) {
  const FolderTokens beside = ReadFolderTokens(folder);
  return Open(folder / "tokenizer.json", &beside);
}

}  // namespace kvfold
