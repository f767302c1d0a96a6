// runtime/weights/checkpoint_embeddings.h: embedding rows of tokens, read from the mapped
// checkpoint as they are needed, so that no rank holds the table. Rank 0's.
#pragma once

#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/weights/embedding_source.h"

namespace kvfold {

class CheckpointEmbeddings : public EmbeddingSource {
 public:
  // Throws InputError where the checkpoint has no embeddings of the right shape. `checkpoint` must
  // outlive it.
  CheckpointEmbeddings(const ModelConfig& config, const Checkpoint& checkpoint);

  int64_t hidden() const override { return tensor_.cols; }
  void Gather(std::span<const int32_t> tokens, float* out) const override;

 private:
  const Checkpoint& checkpoint_;
  const TensorInfo& tensor_;
  float scale_;
};

}  // namespace kvfold
