#include "models/tokenizer/tokenizer.h"

#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/model_path.h"
#include "models/tokenizer/tokenizer_gguf.h"
#include "models/tokenizer/tokenizer_json.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

std::unique_ptr<Tokenizer> Tokenizer::Open(const std::filesystem::path& model) {
  switch (FindModelForm(model)) {
    case ModelForm::kGguf:
      return OpenTokenizerGguf(model);
    case ModelForm::kJson:
      return OpenTokenizerJson(model);
    case ModelForm::kFolder:
      break;
  }
  const std::filesystem::path file = model / "tokenizer.json";
  if (HasEntry(file)) return OpenTokenizerFolder(model);
  if (const std::filesystem::path other = model / "tokenizer.model"; HasEntry(other)) {
    const FileNature nature = SniffFile(other);
    if (nature.kind == FileKind::kForeign && nature.description != kSentencePiece) {
      throw InputError(
          fmt::format("{}: {}, expected a tokenizer.json beside it; the model runs by token ids",
                      other.string(), nature.description));
    }
    throw InputError(
        fmt::format("{} has a tokenizer.model and no tokenizer.json; a SentencePiece vocabulary is "
                    "not supported "
                    "yet, and the model runs by token ids",
                    model.string()));
  }
  RefuseFolder(model, "has no tokenizer.json", "one beside config.json");
}

std::string StreamDecoder::Push(TokenId id) {
  held_ += tokenizer_.TokenBytes(id, true);
  const size_t complete = held_.size() - UnfinishedUtf8Bytes(held_);
  std::string text;
  AppendLossyUtf8(text, std::string_view(held_).substr(0, complete));
  held_.erase(0, complete);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  AppendLossyUtf8(text, held_);
  held_.clear();
  return text;
}

}  // namespace kvfold
