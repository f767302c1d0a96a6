#include "shard/memory_plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "shard/kv_cache.h"

namespace kvfold {
namespace {

// More than any device has, and so little that the four parts of a RankMemory never overflow their
// sum.
constexpr int64_t kMostBytes = std::numeric_limits<int64_t>::max() / 4;

int64_t SaturatingProduct(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMostBytes : std::min(product, kMostBytes);
}

int64_t CacheBytes(const KvLayout& layout, int64_t max_tokens, int64_t chunk,
                   int64_t max_sequences) {
  const std::vector<int64_t> blocks = KvPool::BlocksFor(layout, max_tokens, chunk, max_sequences);
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

LayerShapes RankLayerShapes(const ModelConfig& config, const RankShard& shard) {
  const int64_t query_width = shard.query_heads.size() * config.head_dim;
  const int64_t kv_width = shard.kv_heads.size() * config.head_dim;
  const int64_t ffn = shard.ffn_cols.size();
  return {.qkv = {query_width + 2 * kv_width, config.hidden},
          .attention_out = {config.hidden, query_width},
          .gate_up = {2 * ffn, config.hidden},
          .down = {config.hidden, ffn}};
}

LinearShape RankVocabShape(const ModelConfig& config, const RankShard& shard) {
  return {shard.vocab_rows.size(), config.hidden};
}

int64_t RankWeightsBytes(const ModelConfig& config, const RankShard& shard,
                         const std::function<int64_t(LinearShape)>& packed_bytes) {
  const auto product_bytes = [&](LinearShape shape) {
    return shape.n_out == 0 || shape.n_in == 0 ? 0 : RoundUp(packed_bytes(shape), kAlignmentBytes);
  };
  const auto vector_bytes = [](int64_t elements) {
    return RoundUp(elements * DTypeBytes(DType::kF32), kAlignmentBytes);
  };
  const LayerShapes shapes = RankLayerShapes(config, shard);
  int64_t layer_bytes = product_bytes(shapes.qkv) + product_bytes(shapes.attention_out) +
                        product_bytes(shapes.gate_up) + product_bytes(shapes.down) +
                        2 * vector_bytes(config.hidden);
  if (config.qkv_bias) layer_bytes += vector_bytes(shapes.qkv.n_out);
  return shard.layers.size() * layer_bytes + vector_bytes(config.hidden) +
         product_bytes(RankVocabShape(config, shard));
}

RankMemory PlanRank(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                    const MemoryModel& model, int64_t max_tokens, int64_t chunk,
                    int64_t max_sequences) {
  const RankShard& shard = plan.rank(tp_rank);
  RankMemory memory;
  memory.weights_bytes = RankWeightsBytes(config, shard, model.packed_bytes);
  memory.cache_bytes = CacheBytes(model.kv_layout(shard), max_tokens, chunk, max_sequences);
  memory.workspace_bytes = model.workspace_bytes(plan, tp_rank);
  memory.reserved_bytes = model.reserved_bytes;
  return memory;
}

std::vector<RankMemory> PlanRanks(const ModelConfig& config, const ShardPlan& plan,
                                  const MemoryModel& model, int64_t max_tokens, int64_t chunk,
                                  int64_t max_sequences) {
  const MemoryModel memoized = Memoized(model);
  std::vector<RankMemory> ranks;
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    ranks.push_back(PlanRank(config, plan, rank, memoized, max_tokens, chunk, max_sequences));
  }
  return ranks;
}

int SmallestFittingRanks(const ModelConfig& config, const MemoryModel& model, int64_t device_bytes,
                         int64_t max_tokens, int64_t chunk, int64_t max_sequences) {
  const MemoryModel memoized = Memoized(model);
  const auto rank_fits = [&](const ShardPlan& plan, int rank) {
    return PlanRank(config, plan, rank, memoized, max_tokens, chunk, max_sequences).total_bytes() <=
           device_bytes;
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
                             const MemoryModel& model, int64_t device_bytes, int64_t chunk,
                             int64_t max_sequences) {
  // What each rank's cache may take, beside what does not depend on the tokens.
  struct Room {
    KvLayout layout;
    int64_t bytes;
  };
  std::vector<Room> rooms;
  const std::vector<RankMemory> ranks =
      PlanRanks(config, plan, model, /*max_tokens=*/0, chunk, max_sequences);
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    rooms.push_back({model.kv_layout(plan.rank(rank)),
                     device_bytes - ranks[static_cast<size_t>(rank)].total_bytes()});
  }
  const auto fits = [&](int64_t max_tokens) {
    return std::all_of(rooms.begin(), rooms.end(), [&](const Room& room) {
      return CacheBytes(room.layout, max_tokens, chunk, max_sequences) <= room.bytes;
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
