// runtime/weights/embedding_source.h: where a step's input rows come from.
#pragma once

#include <cstdint>
#include <span>

namespace kvfold {

// May be used by several threads at once.
class EmbeddingSource {
 public:
  virtual ~EmbeddingSource() = default;

  virtual int64_t hidden() const = 0;
  // out[t] = embedding of tokens[t], [tokens.size(), hidden] f32. Requires: tokens in [0,
  // vocab_size).
  virtual void Gather(std::span<const int32_t> tokens, float* out) const = 0;
};

}  // namespace kvfold
