// runtime/weights/weights.h: one rank's slices of a model, read from a checkpoint and packed once.
// No rank ever holds more.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/device/device.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/kernels/kernels.h"
#include "shard/shard_plan.h"

namespace kvfold {

struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden], on the device as all of these
  const float* ffn_norm = nullptr;        // [hidden]
  const float* qkv_bias = nullptr;    // [(n_heads + 2 n_kv_heads) * head_dim] of this rank, or null
  std::unique_ptr<PackedLinear> qkv;  // rows: this rank's q heads, k heads, v heads
  std::unique_ptr<PackedLinear> attention_out;  // columns: this rank's q heads
  std::unique_ptr<PackedLinear> gate_up;        // rows: this rank's FFN columns of gate, then of up
  std::unique_ptr<PackedLinear> down;           // columns: this rank's FFN columns
};

// Owns one device allocation of RankWeightsBytes (shard/memory_plan.h) and the packed weights
// within it.
class Weights {
 public:
  using Progress = std::function<void(int64_t bytes_done, int64_t bytes_total)>;

  // Reads and packs, a strip at a time on all of the device's threads. Throws InputError naming
  // tensor, found and expected shape; CapacityError from the device. `kernels` and `device` must
  // outlive it; `checkpoint` is not needed after.
  Weights(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
          Kernels& kernels, Device& device, const Progress& progress = {});

  const std::vector<LayerWeights>& layers() const { return layers_; }
  const float* final_norm() const { return final_norm_; }  // [hidden]
  const PackedLinear& vocabulary() const {
    return *vocabulary_;
  }  // rows: this rank's share of the vocabulary
  int64_t bytes() const { return memory_.bytes(); }

 private:
  Buffer memory_;
  std::vector<LayerWeights> layers_;
  const float* final_norm_ = nullptr;
  std::unique_ptr<PackedLinear> vocabulary_;
};

// Name of the tensor whose rows are the embeddings of tokens, [vocab_size, hidden].
inline constexpr const char* kEmbeddingTensor = "model.embed_tokens.weight";

}  // namespace kvfold
