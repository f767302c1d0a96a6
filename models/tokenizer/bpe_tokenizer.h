// models/tokenizer/bpe_tokenizer.h: the whole way from text to ids, put together from its parts:
// added tokens, normalizer, pre-tokenizer, byte pair encoding, post-processor. The readers of
// tokenizer.json and GGUF each fill a BpeTokenizerSpec.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/byte_level_bpe.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/tokenizer.h"

namespace kvfold {

struct BpeTokenizerSpec {
  static constexpr TokenId kMostTokens = 1 << 24;  // ids are below it

  std::string where;  // the file, for messages
  // The model's vocabulary in the byte alphabet, in any order.
  std::vector<std::pair<std::string, TokenId>> vocabulary;
  // Tokens that no text becomes, since another has their text: they are only decoded.
  std::vector<std::pair<std::string, TokenId>> unreachable;
  std::vector<std::pair<std::string, std::string>> merges;  // left and right token, by rank
  BpeOptions options;
  bool nfc = false;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;
  // What the post-processor puts before and behind a text.
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

class BpeTokenizer : public Tokenizer {
 public:
  // Throws InputError, naming spec.where, for ids and tokens that are out of range, double, or
  // missing.
  explicit BpeTokenizer(BpeTokenizerSpec spec);

  std::vector<TokenId> Encode(std::string_view text, bool add_special) const override;
  std::string Decode(std::span<const TokenId> ids, bool skip_special) const override;
  std::string_view TokenBytes(TokenId id, bool skip_special) const override;
  bool IsAdded(TokenId id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(entries_.size()); }
  TokenId TokenToId(std::string_view token) const override;

 private:
  struct Entry {        // of one id
    int64_t begin = 0;  // of its bytes in bytes_
    int32_t size_bytes = 0;
    bool used = false;
    bool added = false;
    bool special = false;
  };

  void AddVocabulary();
  std::vector<BpeMerge> ResolveMerges() const;
  std::vector<AddedToken> DistinctAddedTokens() const;
  void AddAddedTokens();
  void SetBytes(TokenId id, std::string_view token);
  std::string_view BytesOf(const Entry& entry) const;

  BpeTokenizerSpec spec_;
  std::vector<AddedToken> added_;
  std::vector<Entry> entries_;                         // by id
  std::string bytes_;                                  // what the ids decode to, end to end
  std::unordered_map<std::string_view, TokenId> ids_;  // views into spec_ and added_
  std::unique_ptr<ByteLevelBpe> bpe_;
  std::unique_ptr<AddedTokenFinder> raw_added_;
  std::unique_ptr<AddedTokenFinder> normalized_added_;
};

}  // namespace kvfold
