// models/tokenizer/merge_table.h: a hash table from a pair of tokens to their merge. Open
// addressing, 16 bytes an entry, at most half full: looking up pairs is most of what encoding does.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

class MergeTable {
 public:
  struct Value {
    uint32_t rank = 0;
    TokenId merged = 0;
  };

  explicit MergeTable(size_t most_entries)
      : slots_(std::bit_ceil(2 * most_entries + 2)), mask_(slots_.size() - 1) {}

  // The last insertion of a pair counts. Requires: ids >= 0, no more entries than promised.
  void Insert(TokenId left, TokenId right, const Value& value) {
    Slot& slot = slots_[IndexOf(Key(left, right))];
    slot.key = Key(left, right);
    slot.value = value;
  }
  // nullptr where the pair does not merge.
  const Value* Find(TokenId left, TokenId right) const {
    const Slot& slot = slots_[IndexOf(Key(left, right))];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair of ids >= 0 has this key
  struct Slot {
    uint64_t key = kEmpty;
    Value value;
  };

  static uint64_t Key(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  // Where `key` is, or would be put. The finaliser of MurmurHash3 spreads the keys.
  size_t IndexOf(uint64_t key) const {
    uint64_t hash = key;
    hash = (hash ^ hash >> 33) * 0xFF51AFD7ED558CCDu;
    hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53u;
    size_t index = (hash ^ hash >> 33) & mask_;
    while (slots_[index].key != kEmpty && slots_[index].key != key) index = (index + 1) & mask_;
    return index;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace kvfold
