#include "models/tokenizer/byte_level_bpe.h"

#include <algorithm>

namespace kvfold {

ByteLevelBpe::ByteLevelBpe(const std::vector<Token>& tokens, const std::vector<BpeMerge>& merges,
                           const BpeOptions& options)
    : options_(options), merges_(merges.size()) {
  byte_tokens_.fill(-1);
  if (options.ignore_merges) words_.reserve(tokens.size());
  for (const Token& token : tokens) {
    if (token.bytes.size() == 1) byte_tokens_[static_cast<uint8_t>(token.bytes[0])] = token.id;
    if (options.ignore_merges) words_.emplace(token.bytes, token.id);
  }
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    merges_.Insert(merge.left, merge.right, {static_cast<uint32_t>(rank), merge.merged});
  }
}

void ByteLevelBpe::PushCandidate(Scratch& scratch, int64_t left, int64_t right) const {
  const MergeTable::Value* merge =
      merges_.Find(scratch.symbols_[left].id, scratch.symbols_[right].id);
  if (merge == nullptr) return;
  scratch.heap_.push_back({merge->rank, merge->merged, left});
}

void ByteLevelBpe::Encode(std::string_view word, Scratch& scratch,
                          std::vector<TokenId>& out) const {
  if (options_.ignore_merges) {
    const auto whole = words_.find(word);
    if (whole != words_.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  symbols.clear();
  heap.clear();
  bool in_unknown = false;
  for (const char byte : word) {
    const TokenId known = byte_tokens_[static_cast<uint8_t>(byte)];
    const bool unknown = known < 0;
    if (unknown && (options_.unknown_id < 0 || (in_unknown && options_.fuse_unknown))) continue;
    in_unknown = unknown;
    const auto position = static_cast<int64_t>(symbols.size());
    symbols.push_back({unknown ? options_.unknown_id : known, position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  // A heap whose top is the candidate of least rank, the leftmost of equals.
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  for (int64_t i = 0; i + 1 < static_cast<int64_t>(symbols.size()); ++i) {
    PushCandidate(scratch, i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](int64_t left, int64_t right) {
    const size_t before = heap.size();
    PushCandidate(scratch, left, right);
    if (heap.size() != before) std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate top = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[top.position];
    if (left.id < 0 || left.next < 0) continue;
    // The pair may have changed since it was pushed; what counts is whether it still makes the same
    // token.
    const MergeTable::Value* merge = merges_.Find(left.id, symbols[left.next].id);
    if (merge == nullptr || merge->merged != top.merged) continue;
    Scratch::Symbol& right = symbols[left.next];
    left.id = top.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    if (left.previous >= 0) push(left.previous, top.position);
    if (left.next >= 0) push(top.position, left.next);
  }
  for (int64_t i = 0; i >= 0; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace kvfold
