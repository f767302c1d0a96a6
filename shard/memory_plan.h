// shard/memory_plan.h: what one rank will hold, in bytes, before anything is loaded. The planned
// figures equal what is allocated later: the same functions size the allocations.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/model_config.h"
#include "shard/kv_cache.h"
#include "shard/kv_layout.h"
#include "shard/shard_plan.h"
#include "shard/tensor_cut.h"

namespace kvfold {

struct RankMemory {
  int64_t weights_bytes = 0;
  int64_t cache_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t reserved_bytes = 0;  // what the kernels and the device's runtime keep for themselves
  int64_t total_bytes() const {
    return weights_bytes + cache_bytes + workspace_bytes + reserved_bytes;
  }
};

// What a rank's kernels and step tell the plan; runtime supplies it (the plan knows no kernel).
struct MemoryModel {
  std::function<int64_t(LinearShape)> packed_bytes;                       // of one packed weight
  std::function<int64_t(const ShardPlan&, int tp_rank)> workspace_bytes;  // of one StepContext
  std::function<KvLayout(const RankShard&)> kv_layout;
  int64_t reserved_bytes = 0;
};

// All slots of the table of tensors, vectors as f32; each allocation rounded up to 64 bytes.
int64_t RankWeightsBytes(const ModelConfig& config, const RankShard& shard,
                         const std::function<int64_t(LinearShape)>& packed_bytes);
// A cache too large to be counted counts as INT64_MAX / 4 bytes, which fits nowhere.
RankMemory PlanRank(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                    const MemoryModel& model, const CacheLimits& limits);
std::vector<RankMemory> PlanRanks(const ModelConfig& config, const ShardPlan& plan,
                                  const MemoryModel& model, const CacheLimits& limits);

// For a device of device_bytes a rank: the smallest tp_size in [1, n_heads] whose every rank fits
// (0: none), and the most tokens that fit at tp_size, whatever limits.tokens is (0: not even the
// weights; INT64_MAX: the cache of sliding layers alone fits at any length).
int SmallestFittingRanks(const ModelConfig& config, const MemoryModel& model, int64_t device_bytes,
                         const CacheLimits& limits);
int64_t LargestFittingTokens(const ModelConfig& config, const ShardPlan& plan,
                             const MemoryModel& model, int64_t device_bytes, CacheLimits limits);

}  // namespace kvfold
