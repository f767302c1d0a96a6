// runtime/weights/embedding_source.h: embedding rows of tokens, read from the mapped checkpoint as
// they are needed, so that no rank holds the table. Rank 0's.
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"

namespace kvfold {

// One thread uses it; reads ahead happen on a thread of their own.
class EmbeddingSource {
 public:
  // Throws InputError where the checkpoint has no embeddings of the right shape. `checkpoint` must
  // outlive it.
  EmbeddingSource(const ModelConfig& config, const Checkpoint& checkpoint);
  ~EmbeddingSource();

  int64_t hidden() const { return hidden_; }
  // out[t] = embedding of tokens[t], [tokens.size(), hidden] f32. Requires: tokens in [0,
  // vocab_size).
  void Gather(std::span<const int32_t> tokens, float* out) const;

  // Starts to gather rows that Take(key, ...) will ask for while something else runs.
  void Prefetch(int64_t key, std::vector<int32_t> tokens);
  // Gather, from what was prefetched under `key` if that was for the same tokens.
  void Take(int64_t key, std::span<const int32_t> tokens, float* out);

 private:
  struct Ahead {
    std::vector<int32_t> tokens;
    std::future<std::vector<float>> rows;
  };
  const Checkpoint& checkpoint_;
  const TensorInfo& tensor_;
  int64_t hidden_;
  std::map<int64_t, Ahead> ahead_;
};

}  // namespace kvfold
