#include "models/tokenizer/tokenizer.h"

#include "comm/error.h"
#include "models/tokenizer/tokenizer_gguf.h"
#include "models/tokenizer/tokenizer_json.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

std::unique_ptr<Tokenizer> Tokenizer::Open(const std::filesystem::path& model) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(model, ignored)) {
    return model.extension() == ".gguf" ? OpenTokenizerGguf(model) : OpenTokenizerJson(model);
  }
  const std::filesystem::path file = model / "tokenizer.json";
  if (std::filesystem::exists(file, ignored)) return OpenTokenizerJson(file);
  if (std::filesystem::exists(model / "tokenizer.model", ignored)) {
    throw InputError(
        fmt::format("{} has a tokenizer.model and no tokenizer.json; a SentencePiece vocabulary is "
                    "not supported "
                    "yet, and the model runs by token ids",
                    model.string()));
  }
  throw InputError(fmt::format("{} has no tokenizer.json", model.string()));
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
