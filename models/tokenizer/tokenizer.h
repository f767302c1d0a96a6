// models/tokenizer/tokenizer.h: text to token ids and back, as Hugging Face `tokenizers` does it.
// Byte-level BPE. Immutable after Open; one object may be used by several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold {

using TokenId = int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // A Hugging Face folder (tokenizer.json), a tokenizer.json, or a GGUF file. Throws InputError
  // naming the file, and what of it is not supported (a SentencePiece model, say, which then runs
  // by token ids).
  static std::unique_ptr<Tokenizer> Open(const std::filesystem::path& model);

  // Token ids of UTF-8 `text`. Special tokens written in the text are recognised. `add_special`:
  // also what the post-processor puts around a text (Llama 3's <|begin_of_text|>); a text rendered
  // by a chat template brings its own, so false there. Throws InputError with the byte offset where
  // `text` is not UTF-8.
  virtual std::vector<TokenId> Encode(std::string_view text, bool add_special) const = 0;

  // The bytes of the tokens, invalid UTF-8 replaced by U+FFFD; special tokens left out if
  // `skip_special`.
  virtual std::string Decode(std::span<const TokenId> ids, bool skip_special) const = 0;
  // The raw bytes of one token: "" for a special one if skip_special. Requires 0 <= id <
  // vocab_size().
  virtual std::string_view TokenBytes(TokenId id, bool skip_special) const = 0;

  // Whether `id` is a special token: one that TokenBytes leaves out if asked to.
  bool IsSpecial(TokenId id) const {
    return TokenBytes(id, true).empty() && !TokenBytes(id, false).empty();
  }
  // Whether `id` stands beside the vocabulary ("<|im_end|>"), special or not: a text becomes it
  // where its own text is written out, and not by merges.
  virtual bool IsAdded(TokenId id) const { return IsSpecial(id); }

  virtual int64_t vocab_size() const = 0;  // ids are in [0, vocab_size())
  // -1 where the vocabulary has no such token.
  virtual TokenId TokenToId(std::string_view token) const = 0;
};

// Decodes a stream of tokens without ever emitting part of a UTF-8 character: bytes of an
// unfinished one are held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string Push(TokenId id);  // what this token completes, possibly nothing
  std::string Finish();          // what was held back, as U+FFFD

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace kvfold
