#include "shard/memory_plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold {
namespace {

// More than any device has, and so little that the four parts of a RankMemory never overflow their
// sum.
constexpr int64_t kMostBytes = std::numeric_limits<int64_t>::max() / 4;

int64_t SaturatingProduct(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMostBytes : std::min(product, kMostBytes);
}

int64_t CacheBytes(const KvLayout& layout, const CacheLimits& limits) {
  const std::vector<int64_t> blocks = KvPool::BlocksFor(layout, limits);
  int64_t bytes = 0;
  for (size_t group = 0; group < blocks.size(); ++group) {
    const int64_t group_bytes =
        SaturatingProduct(layout.block_bytes(static_cast<int>(group)), blocks[group]);
    bytes = std::min(bytes + group_bytes, kMostBytes);
  }
  return bytes;
}

// Few shapes occur, again and again: a kernel is asked once for each of them.
MemoryModel Memoized(const MemoryModel& model) {
  MemoryModel memoized = model;
  memoized.packed_bytes =
      [packed_bytes = model.packed_bytes,
       known = std::map<std::pair<int64_t, int64_t>, int64_t>()](LinearShape shape) mutable {
        const auto [place, is_new] = known.try_emplace({shape.n_out, shape.n_in}, 0);
        if (is_new) place->second = packed_bytes(shape);
        return place->second;
      };
  return memoized;
}

}  // namespace

int64_t RankWeightsBytes(const ModelConfig& config, const RankShard& shard,
                         const std::function<int64_t(LinearShape)>& packed_bytes) {
  int64_t bytes = 0;
  ForEachSlot(config, [&](int64_t layer, WeightSlot slot) {
    const LinearShape shape = RankSlotShape(config, shard, layer, slot);
    if (shape.n_out == 0 || shape.n_in == 0) return;
    bytes += RoundUp(IsVector(slot) ? shape.n_out * DTypeBytes(DType::kF32) : packed_bytes(shape),
                     kAlignmentBytes);
  });
  return bytes;
}

RankMemory PlanRank(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                    const MemoryModel& model, const CacheLimits& limits) {
  const RankShard& shard = plan.rank(tp_rank);
  RankMemory memory;
  memory.weights_bytes = RankWeightsBytes(config, shard, model.packed_bytes);
  memory.cache_bytes = CacheBytes(model.kv_layout(shard), limits);
  memory.workspace_bytes = model.workspace_bytes(plan, tp_rank);
  memory.reserved_bytes = model.reserved_bytes;
  return memory;
}

std::vector<RankMemory> PlanRanks(const ModelConfig& config, const ShardPlan& plan,
                                  const MemoryModel& model, const CacheLimits& limits) {
  const MemoryModel memoized = Memoized(model);
  std::vector<RankMemory> ranks;
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    ranks.push_back(PlanRank(config, plan, rank, memoized, limits));
  }
  return ranks;
}

int SmallestFittingRanks(const ModelConfig& config, const MemoryModel& model, int64_t device_bytes,
                         const CacheLimits& limits) {
  const MemoryModel memoized = Memoized(model);
  const auto rank_fits = [&](const ShardPlan& plan, int rank) {
    return PlanRank(config, plan, rank, memoized, limits).total_bytes() <= device_bytes;
  };
  for (int tp_size = 1; tp_size <= config.n_heads; ++tp_size) {
    const ShardPlan plan(config, tp_size);
    int rank = 0;
    while (rank < tp_size && rank_fits(plan, rank)) ++rank;
    if (rank == tp_size) return tp_size;
  }
  return 0;
}

int64_t LargestFittingTokens(const ModelConfig& config, const ShardPlan& plan,
                             const MemoryModel& model, int64_t device_bytes, CacheLimits limits) {
  // What each rank's cache may take, beside what does not depend on the tokens.
  struct Room {
    KvLayout layout;
    int64_t bytes;
  };
  std::vector<Room> rooms;
  limits.tokens = 0;
  const std::vector<RankMemory> ranks = PlanRanks(config, plan, model, limits);
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    rooms.push_back({model.kv_layout(plan.rank(rank)),
                     device_bytes - ranks[static_cast<size_t>(rank)].total_bytes()});
  }
  const auto fits = [&](int64_t tokens) {
    limits.tokens = tokens;
    return std::all_of(rooms.begin(), rooms.end(), [&](const Room& room) {
      return CacheBytes(room.layout, limits) <= room.bytes;
    });
  };
  constexpr int64_t kAnyNumber = std::numeric_limits<int64_t>::max();
  if (!fits(0)) return 0;
  if (fits(kAnyNumber)) return kAnyNumber;
  // Bytes never fall as tokens rise: `low` fits and `high` does not.
  int64_t low = 0;
  int64_t high = kAnyNumber;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace kvfold
