// models/tokenizer/byte_level_bpe.h: byte pair encoding (arXiv:1508.07909) of one word at a time,
// over bytes.
//
// A word starts as the tokens of its bytes; the pair of neighbours that stands first in the list of
// merges, the leftmost of them, is joined, until no pair is in the list. Mirrors Hugging Face
// tokenizers, models/bpe/{model,word}.rs, down to the order in which a heap meets pairs that went
// stale.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer/merge_table.h"
#include "models/tokenizer/tokenizer.h"

namespace kvfold {

struct BpeMerge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId merged = 0;
};

struct BpeOptions {
  bool ignore_merges =
      false;  // a word that is itself a token becomes that token, whatever the merges say
  TokenId unknown_id =
      -1;  // for a byte that has no token; -1: such a byte is dropped, as Hugging Face does
  bool fuse_unknown = false;  // neighbouring unknown bytes become one unknown token
};

class ByteLevelBpe {
 public:
  // A token by the bytes that it stands for.
  struct Token {
    TokenId id = 0;
    std::string_view bytes;
  };
  // Room for the work on one word, so that words in sequence allocate nothing. One per thread.
  class Scratch {
    friend class ByteLevelBpe;
    struct Symbol {
      TokenId id;        // -1: merged into the symbol before it
      int64_t previous;  // -1: none
      int64_t next;      // -1: none
    };
    struct Candidate {
      uint32_t rank;
      TokenId merged;
      int64_t position;
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // `tokens` views memory that must outlive this object. `merges` in order of rank; of equal pairs
  // the last counts.
  ByteLevelBpe(const std::vector<Token>& tokens, const std::vector<BpeMerge>& merges,
               const BpeOptions& options);

  // Appends the tokens of `word` to `out`. O(n log n) in the word's bytes. Safe from several
  // threads, each with its own scratch.
  void Encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& out) const;

 private:
  void PushCandidate(Scratch& scratch, int64_t left, int64_t right) const;

  BpeOptions options_;
  std::array<TokenId, 256> byte_tokens_;
  MergeTable merges_;
  std::unordered_map<std::string_view, TokenId> words_;  // only where ignore_merges
};

}  // namespace kvfold
