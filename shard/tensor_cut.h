// shard/tensor_cut.h: which part of every tensor a rank holds, by the table of tensors and the
// rank's shares.
#pragma once

#include <cstdint>

#include "models/tensor_table.h"
#include "shard/shard_plan.h"

namespace kvfold {

// A weight as products take it, [n_out, n_in].
struct LinearShape {
  int64_t n_out = 0;
  int64_t n_in = 0;
  bool operator==(const LinearShape&) const = default;
};

// The elements of a dimension that a rank holds.
Range RankRange(const ModelConfig& config, const RankShard& shard, TensorDim dim);

// A slot of `layer` on a rank: all that its tensors have there, stacked; a vector of n elements is
// [n, 1]. n_out or n_in is 0 where the rank has no part of it (no FFN columns), both where the
// model has no such weight.
LinearShape RankSlotShape(const ModelConfig& config, const RankShard& shard, int64_t layer,
                          WeightSlot slot);

}  // namespace kvfold
