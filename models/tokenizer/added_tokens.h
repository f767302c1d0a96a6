// models/tokenizer/added_tokens.h: finds the tokens that stand beside a vocabulary ("<|im_start|>")
// in a text, before it is cut into words. Mirrors AddedVocabulary::find_matches of Hugging Face
// tokenizers: leftmost first, of those the longest.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

struct AddedToken {
  static constexpr TokenId kNoId = -1;  // no file gives it one: it gets the next

  TokenId id = 0;
  std::string content;
  bool special = false;      // left out of decoded text on request
  bool single_word = false;  // only where neither neighbour is a word character
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // sought in normalized text, and normalized itself
  std::string where;         // it stands, where that is not the tokenizer's own file
};

class AddedTokenFinder {
 public:
  // A longer one would make the search slow: its cost is text times longest token at worst.
  static constexpr size_t kMostTokenBytes = 512;

  // The tokens to find, by `content`. Requires: none empty, longer than kMostTokenBytes, or equal
  // to another.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  // Calls text_part(view) and token(id) in order; the parts cover the text but for the tokens, none
  // empty.
  template <typename TextPart, typename Token>
  void Split(std::string_view text, TextPart&& text_part, Token&& token) const {
    size_t done = 0, from = 0, space_end = 0;
    while (!tokens_.empty() && from < text.size()) {
      const Match match = Find(text, from);
      if (match.token == nullptr) break;
      from = match.end;
      if (!Stands(*match.token, text, match)) continue;
      size_t begin = match.begin, end = match.end;
      Strip(*match.token, text, done, begin, end, space_end);
      if (done < begin) text_part(text.substr(done, begin - done));
      // Nothing is left of a token where all of it was stripped already, by the one before.
      if (begin < end) token(match.token->id);
      done = end;
    }
    if (done < text.size()) text_part(text.substr(done));
  }

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t begin = 0;
    size_t end = 0;
  };
  Match Find(std::string_view text, size_t from) const;
  static bool Stands(const AddedToken& token, std::string_view text, const Match& match);
  // Behind a match and before `space_end` all is white space: a text of white-space tokens is not
  // walked to its end from each of them.
  static void Strip(const AddedToken& token, std::string_view text, size_t done, size_t& begin,
                    size_t& end, size_t& space_end);

  // A trie over bytes: node 0 is the root; the edge of a node by a byte leads to another.
  std::vector<AddedToken> tokens_;
  std::array<uint32_t, 256> first_node_{};        // children of the root; 0: none
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte
  std::vector<int32_t> token_at_;                 // by node; -1: no token ends here
};

}  // namespace kvfold
