// models/tokenizer/word_cache.h: remembers, while one text is encoded, which tokens a word became.
// Text repeats its words: nine in ten are found here.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// One slot a hash, the newest word in it. Holds no bytes of its own: words are views, and their
// tokens stand where they were first appended. One thread.
class WordCache {
 public:
  // Sized by the text to come: at most 2 MiB.
  explicit WordCache(size_t text_bytes)
      : slots_(std::bit_ceil(std::clamp<size_t>(text_bytes / 8, 16, 1 << 16))),
        mask_(slots_.size() - 1) {}

  // Appends the tokens of `word` to `out`, which must be the vector of every call and only ever
  // grow. Those of a new word are taken from encode(word), which appends them itself. Requires: the
  // bytes of `word` outlive this object.
  template <typename Encode>
  void Append(std::string_view word, std::vector<TokenId>& out, Encode&& encode) {
    if (word.size() > kMostWordBytes) {
      encode(word);
      return;
    }
    Slot& slot = slots_[Hash(word) & mask_];
    if (slot.size_bytes == word.size() && std::memcmp(slot.word, word.data(), word.size()) == 0) {
      const size_t count = slot.n_tokens;
      const size_t to = out.size();
      out.resize(to + count);
      std::copy_n(out.begin() + slot.first_token, count, out.begin() + static_cast<int64_t>(to));
      return;
    }
    const auto first = static_cast<int64_t>(out.size());
    encode(word);
    slot = {word.data(), static_cast<uint32_t>(word.size()),
            static_cast<uint32_t>(out.size() - static_cast<size_t>(first)), first};
  }

 private:
  static constexpr size_t kMostWordBytes = 256;
  struct Slot {
    const char* word = nullptr;
    uint32_t size_bytes = 0;  // 0: empty; no word is
    uint32_t n_tokens = 0;
    int64_t first_token = 0;  // in `out`
  };

  static uint64_t Hash(std::string_view word) {
    uint64_t hash = word.size();
    size_t offset = 0;
    const auto mix = [&](uint64_t part) {
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    };
    for (; offset + 8 <= word.size(); offset += 8) {
      uint64_t part;
      std::memcpy(&part, word.data() + offset, 8);
      mix(part);
    }
    uint64_t part = 0;
    std::memcpy(&part, word.data() + offset, word.size() - offset);
    mix(part);
    return hash ^ hash >> 16;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace kvfold
