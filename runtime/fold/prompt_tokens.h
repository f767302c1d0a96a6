// runtime/fold/prompt_tokens.h: the token ids of a prompt. Requests about one long document hold
// its ids once: what of a prompt stands in another one is a view into that, only the rest is its
// own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

class PromptTokens {
 public:
  using Whole = std::shared_ptr<const std::vector<TokenId>>;

  PromptTokens() = default;
  PromptTokens(std::vector<TokenId> tokens);  // NOLINT: a prompt is its ids; all of them its own
  PromptTokens(std::initializer_list<TokenId> tokens)
      : PromptTokens(std::vector<TokenId>(tokens)) {}
  // The same ids, those that stand in `whole` too, in long runs, not copied. Which runs are found
  // changes nothing but the memory.
  static PromptTokens Sharing(std::span<const TokenId> tokens, Whole whole);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  TokenId operator[](size_t i) const;  // Requires i < size()
  // Those of [begin, end).
  std::vector<TokenId> Slice(size_t begin, size_t end) const;
  // From `at` on, as far as they lie in a row; none where it is the end.
  std::span<const TokenId> RowAt(size_t at) const;
  // Tokens that both begin with.
  int64_t CommonWith(const PromptTokens& other) const;
  size_t own_size() const { return own_.size(); }  // ids that are held for this prompt alone

 private:
  struct Part {
    bool is_shared;
    size_t from;   // in whole_ or own_
    size_t begin;  // in the prompt
    size_t end;
  };
  void Cover(std::span<const TokenId> tokens, int more_splits);
  void Add(bool is_shared, size_t from, size_t n_tokens);

  Whole whole_;
  std::vector<TokenId> own_;
  std::vector<Part> parts_;
  size_t size_ = 0;
};

}  // namespace kvfold
