#include "models/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), token_at_(1, -1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    KVFOLD_CHECK(!content.empty() && content.size() <= kMostTokenBytes, "bytes", content.size());
    uint32_t node = 0;
    for (const char c : content) {
      const auto byte = static_cast<uint8_t>(c);
      uint32_t& next = node == 0 ? first_node_[byte] : edges_[uint64_t{node} << 8 | byte];
      if (next == 0) {
        next = static_cast<uint32_t>(token_at_.size());
        token_at_.push_back(-1);
      }
      node = next;
    }
    KVFOLD_CHECK(token_at_[node] < 0, "content", content);
    token_at_[node] = static_cast<int32_t>(i);
  }
}

AddedTokenFinder::Match AddedTokenFinder::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    uint32_t node = first_node_[static_cast<uint8_t>(text[begin])];
    Match longest;
    for (size_t end = begin + 1; node != 0; ++end) {
      if (token_at_[node] >= 0) longest = {&tokens_[token_at_[node]], begin, end};
      if (end == text.size()) break;
      const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[end]));
      if (edge == edges_.end()) break;
      node = edge->second;
    }
    if (longest.token != nullptr) return longest;
  }
  return {};
}

bool AddedTokenFinder::Stands(const AddedToken& token, std::string_view text, const Match& match) {
  if (!token.single_word) return true;
  if (match.begin > 0) {
    size_t before = PreviousCodePoint(text, match.begin);
    if (IsWordCharacter(NextCodePoint(text, before))) return false;
  }
  size_t behind = match.end;
  return behind == text.size() || !IsWordCharacter(NextCodePoint(text, behind));
}

void AddedTokenFinder::Strip(const AddedToken& token, std::string_view text, size_t done,
                             size_t& begin, size_t& end, size_t& space_end) {
  if (token.lstrip) {
    size_t stripped = begin;
    while (stripped > done) {
      const size_t before = PreviousCodePoint(text, stripped);
      size_t behind = before;
      if (!IsWhiteSpace(NextCodePoint(text, behind))) break;
      stripped = before;
    }
    begin = std::max(stripped, done);
  }
  if (!token.rstrip) return;
  end = std::max(end, space_end);
  while (end < text.size()) {
    size_t behind = end;
    if (!IsWhiteSpace(NextCodePoint(text, behind))) break;
    end = behind;
  }
  space_end = end;
}

}  // namespace kvfold
