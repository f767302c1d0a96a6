#include "runtime/weights/checkpoint_embeddings.h"

#include "comm/error.h"
#include "models/tensor_table.h"

namespace kvfold {

CheckpointEmbeddings::CheckpointEmbeddings(const ModelConfig& config, const Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      tensor_(checkpoint.Expect(kEmbeddingTensor, config.vocab_size, config.hidden)),
      scale_(static_cast<float>(config.embedding_scale)) {}

void CheckpointEmbeddings::Gather(std::span<const int32_t> tokens, float* out) const {
  for (const int32_t token : tokens) {
    KVFOLD_CHECK(token >= 0 && token < tensor_.rows, "token", token, "vocab_size", tensor_.rows);
    checkpoint_.ReadBlock(tensor_, token, token + 1, 0, hidden(), out);
    if (scale_ != 1.0f) {
      for (int64_t i = 0; i < hidden(); ++i) out[i] *= scale_;
    }
    out += hidden();
  }
}

}  // namespace kvfold
