// runtime/fold/reply.h: the text of one request as its tokens come, up to its first stop string.
//
//   Reply reply(tokenizer, SpecialTexts(tokenizer), {"\n", "<|im_end|>"});
//   while (!reply.Take(next_token())) Show(reply.piece());
//
// Special tokens are left out of the text. A stop string that holds the text of one is sought in
// the text that has them as well, where it may begin or end with ordinary tokens: "\n<|im_end|>".
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// The texts of all special tokens of a vocabulary.
std::vector<std::string> SpecialTexts(const Tokenizer& tokenizer);

class Reply;

// Makes the replies of one vocabulary.
class ReplyMaker {
 public:
  // `tokenizer` null: there is no text. It must outlive this and all replies.
  explicit ReplyMaker(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}
  // null without a tokenizer.
  std::unique_ptr<Reply> Make(const std::vector<std::string>& stop);

 private:
  const Tokenizer* tokenizer_;
  // Most requests have no stop strings, and a vocabulary is long: once one has.
  std::optional<std::vector<std::string>> special_texts_;
};

class Reply {
 public:
  // `special_texts` as SpecialTexts says; not kept. Empty stop strings count for nothing. The
  // tokenizer must outlive this.
  Reply(const Tokenizer& tokenizer, const std::vector<std::string>& special_texts,
        std::vector<std::string> stop);

  // Takes a token. True where it completes a stop string: the text ends before the one that begins
  // first, and no more may be taken.
  bool Take(TokenId id);
  // As Take for a token that ends the generation and is no part of the text: a stop string may
  // begin before it and end with it.
  bool TakeEnd(TokenId id);
  // No token follows: what was held back of an unfinished character becomes U+FFFD.
  void Finish();

  const std::string& text() const { return text_; }
  // What the last Take or Finish added to the text: whole characters.
  std::string_view piece() const { return std::string_view(text_).substr(piece_begin_); }

 private:
  bool FindInText(size_t& cut) const;
  // Where it finds one, `text` becomes what is to be seen before it.
  bool FindAmongSpecial(std::string_view newest, std::string& text) const;
  void AppendWithSpecial(TokenId id, bool hidden);

  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_;
  std::vector<std::string> special_stop_;  // those that hold a special token's text
  StreamDecoder decoder_;
  std::string text_;
  size_t piece_begin_ = 0;
  // Bytes of all tokens, special ones too, and where in them those are that the text leaves out.
  // Kept only where special_stop_ is not empty.
  std::string with_special_;
  std::vector<std::pair<size_t, size_t>> hidden_;
};

}  // namespace kvfold
