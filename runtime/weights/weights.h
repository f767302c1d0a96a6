// runtime/weights/weights.h: one rank's slices of a model, read from a checkpoint and packed once.
// No rank ever holds more.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "comm/device/device.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "models/tensor_table.h"
#include "runtime/kernels/kernels.h"
#include "shard/shard_plan.h"

namespace kvfold {

// The slots of one layer, or the model's own.
class SlotWeights {
 public:
  // f32 on the device; null where the model has none.
  const float* vector(WeightSlot slot) const { return vectors_[static_cast<size_t>(slot)]; }
  // Requires that there is one.
  const PackedLinear& product(WeightSlot slot) const {
    return *products_[static_cast<size_t>(slot)];
  }

 private:
  friend class WeightLoader;
  std::array<const float*, kWeightSlots> vectors_ = {};
  std::array<std::unique_ptr<PackedLinear>, kWeightSlots> products_;
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

  const SlotWeights& layer(int64_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  const float* final_norm() const { return model_.vector(WeightSlot::kFinalNorm); }
  const PackedLinear& vocabulary() const { return model_.product(WeightSlot::kVocabulary); }
  int64_t bytes() const { return memory_.bytes(); }

 private:
  Buffer memory_;
  std::vector<SlotWeights> layers_;
  SlotWeights model_;
};

}  // namespace kvfold
