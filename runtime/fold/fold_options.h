// runtime/fold/fold_options.h: how a text is cut into chunks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kvfold {

enum class AttentionMode { kFold, kFull };

struct FoldOptions {
  int64_t chunk = 256;
  AttentionMode attention = AttentionMode::kFold;

  // Tokens that texts of at most so many bring to a step: with full attention all at once.
  int64_t ChunkOf(int64_t n_tokens) const {
    return attention == AttentionMode::kFull ? n_tokens : std::min(chunk, n_tokens);
  }
  const char* attention_name() const { return attention == AttentionMode::kFull ? "full" : "fold"; }
};

}  // namespace kvfold
