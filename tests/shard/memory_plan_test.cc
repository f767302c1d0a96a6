#include "shard/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "comm/device/cpu_device.h"
#include "comm/error.h"
#include "shard/kv_cache.h"

namespace kvfold {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

// The shapes of Llama-3.1-70B.
ModelConfig Llama70B() {
  ModelConfig config;
  config.layers.resize(80);
  config.hidden = 8192;
  config.n_heads = 64;
  config.n_kv_heads = 8;
  config.head_dim = 128;
  config.ffn_dim = 28672;
  config.vocab_size = 128256;
  return config;
}

// Nine heads over three, a bias, and sizes that are no multiples of anything.
ModelConfig Odd() {
  ModelConfig config;
  config.layers.resize(3, {.qkv_bias = true});
  config.layers[1].window = 200;
  config.hidden = 90;
  config.n_heads = 9;
  config.n_kv_heads = 3;
  config.head_dim = 10;
  config.ffn_dim = 100;
  config.vocab_size = 130;
  return config;
}

MemoryModel Bf16Model(const ModelConfig& config) {
  return {.packed_bytes = [](LinearShape shape) { return 2 * shape.n_out * shape.n_in; },
          .workspace_bytes = [](const ShardPlan&, int) { return int64_t{1} << 30; },
          .kv_layout =
              [config](const RankShard& shard) {
                return KvLayout{GroupLayers(config.windows()), shard.kv_heads.size(),
                                config.head_dim, DType::kBF16, 2};
              },
          .reserved_bytes = 600 * (int64_t{1} << 20)};
}

TEST(MemoryPlanTest, ShapesOfLlama70BOnEightRanks) {
  const ModelConfig config = Llama70B();
  const ShardPlan plan(config, 8);
  const auto shape = [&](int rank, WeightSlot slot) {
    return RankSlotShape(config, plan.rank(rank), 0, slot);
  };
  EXPECT_EQ(shape(7, WeightSlot::kQkv), (LinearShape{(8 + 1 + 1) * 128, 8192}));
  EXPECT_EQ(shape(7, WeightSlot::kAttentionOut), (LinearShape{8192, 1024}));
  EXPECT_EQ(shape(7, WeightSlot::kGateUp), (LinearShape{7168, 8192}));
  EXPECT_EQ(shape(7, WeightSlot::kDown), (LinearShape{8192, 3584}));
  EXPECT_EQ(shape(0, WeightSlot::kVocabulary), (LinearShape{16064, 8192}));
  EXPECT_EQ(shape(7, WeightSlot::kVocabulary), (LinearShape{16000, 8192}));
}

TEST(MemoryPlanTest, Llama70BWith128KTokensOnEightRanks) {
  const ModelConfig config = Llama70B();
  const std::vector<RankMemory> ranks =
      PlanRanks(config, ShardPlan(config, 8), Bf16Model(config), {131072, 256, 1});
  ASSERT_EQ(ranks.size(), 8u);
  // By hand. A layer: 1280 x 8192 + 8192 x 1024 + 7168 x 8192 + 8192 x 3584 = 106,954,752 elements
  // of 2 bytes; 80 layers are 17,112,760,320 bytes. The vocabulary: 16064 x 8192 x 2 = 263,192,576.
  // Norms: 161 x 8192 x 4 = 5,275,648.
  EXPECT_EQ(ranks[0].weights_bytes, 17'112'760'320 + 263'192'576 + 5'275'648);
  EXPECT_EQ(ranks[7].weights_bytes, 17'112'760'320 + 262'144'000 + 5'275'648);
  for (const RankMemory& rank : ranks) {
    // 80 layers x 1 KV head x 128 x (K, V) x 2 bytes = 40,960 bytes a token: 5 GiB.
    EXPECT_EQ(rank.cache_bytes, 40'960 * int64_t{131'072});
    EXPECT_EQ(rank.cache_bytes, int64_t{5} << 30);
    EXPECT_EQ(rank.workspace_bytes, int64_t{1} << 30);
    EXPECT_EQ(rank.reserved_bytes, 629'145'600);
    EXPECT_EQ(rank.total_bytes(),
              rank.weights_bytes + rank.cache_bytes + rank.workspace_bytes + rank.reserved_bytes);
  }
}

TEST(MemoryPlanTest, EveryAllocationIsRoundedUpTo64Bytes) {
  const ModelConfig config = Odd();
  const ShardPlan plan(config, 3);
  const auto packed_bytes = [](LinearShape shape) { return 4 * shape.n_out * shape.n_in; };
  // Rank 1 has 3 query heads, 1 KV head, columns [64, 100) and rows [64, 128). Each in bytes and in
  // 64s: qkv 50 x 90 x 4 = 18000 -> 282; out 90 x 30 x 4 = 10800 -> 169; gate and up 72 x 90 x 4 =
  // 25920 -> 405; down 90 x 36 x 4 = 12960 -> 203; two norms of 360 -> 6 each; bias 200 -> 4.
  const int64_t layer = 64 * (282 + 169 + 405 + 203 + 2 * 6 + 4);
  // The last norm 6; vocabulary 64 x 90 x 4 = 23040 -> 360.
  EXPECT_EQ(RankWeightsBytes(config, plan.rank(1), packed_bytes), 3 * layer + 64 * (6 + 360));
  // Rank 2 has no columns, and rows [128, 130): 720 bytes -> 12.
  ASSERT_EQ(plan.rank(2).ffn_cols.size(), 0);
  const auto never_empty = [&](LinearShape shape) {
    EXPECT_GT(shape.n_out * shape.n_in, 0);
    return packed_bytes(shape);
  };
  EXPECT_EQ(RankWeightsBytes(config, plan.rank(2), never_empty),
            3 * 64 * (282 + 169 + 2 * 6 + 4) + 64 * (6 + 12));
  ModelConfig without_bias = config;
  for (LayerSpec& spec : without_bias.layers) spec.qkv_bias = false;
  EXPECT_EQ(RankWeightsBytes(without_bias, plan.rank(1), packed_bytes),
            3 * (layer - 64 * 4) + 64 * (6 + 360));
}

TEST(MemoryPlanTest, PlannedCacheIsWhatAPoolAllocates) {
  const ModelConfig config = Odd();
  const MemoryModel model = Bf16Model(config);
  CpuDevice device(1);
  for (const int n_ranks : {1, 2, 5, 9}) {
    const ShardPlan plan(config, n_ranks);
    for (int rank = 0; rank < n_ranks; ++rank) {
      const RankMemory memory = PlanRank(config, plan, rank, model, {1000, 33, 3});
      const KvLayout layout = model.kv_layout(plan.rank(rank));
      const KvPool pool(device, layout, KvPool::BlocksFor(layout, {1000, 33, 3}));
      EXPECT_EQ(memory.cache_bytes, pool.allocated_bytes());
      EXPECT_EQ(memory.cache_bytes, device.allocated_bytes());
    }
  }
}

TEST(MemoryPlanTest, LargestFittingTokensIsTheBoundary) {
  for (const ModelConfig& config : {Llama70B(), Odd()}) {
    const MemoryModel model = Bf16Model(config);
    for (const int n_ranks : {1, 2, 8}) {
      const ShardPlan plan(config, n_ranks);
      for (const int64_t max_sequences : {1, 3}) {
        const auto largest_total = [&](int64_t tokens) {
          int64_t most = 0;
          for (const RankMemory& rank :
               PlanRanks(config, plan, model, {tokens, 256, max_sequences})) {
            most = std::max(most, rank.total_bytes());
          }
          return most;
        };
        const auto tokens_in = [&](int64_t device_bytes) {
          return LargestFittingTokens(config, plan, model, device_bytes, {0, 256, max_sequences});
        };
        for (const int64_t tokens : {0, 1, 127, 128, 129, 5000, 131072}) {
          const int64_t bytes = largest_total(tokens);
          const int64_t most = tokens_in(bytes);
          EXPECT_GE(most, tokens);
          EXPECT_LE(largest_total(most), bytes);
          EXPECT_GT(largest_total(most + 1), bytes);
          EXPECT_LE(tokens_in(bytes - 1), std::max<int64_t>(0, tokens - 1));
        }
        EXPECT_EQ(tokens_in(0), 0);
        EXPECT_EQ(tokens_in(-1), 0);
      }
    }
  }
}

TEST(MemoryPlanTest, SlidingLayersAloneFitAnyLength) {
  ModelConfig config = Odd();
  for (LayerSpec& layer : config.layers) layer.window = 200;
  const ShardPlan plan(config, 2);
  const MemoryModel model = Bf16Model(config);
  EXPECT_EQ(LargestFittingTokens(config, plan, model, int64_t{8} << 30, {0, 256, 1}), kMost);
}

TEST(MemoryPlanTest, SmallestFittingRanks) {
  const ModelConfig config = Llama70B();
  const MemoryModel model = Bf16Model(config);
  constexpr int64_t kGiB = int64_t{1} << 30;
  const auto smallest = [&](int64_t device_bytes, int64_t tokens) {
    return SmallestFittingRanks(config, model, device_bytes, {tokens, 256, 1});
  };
  const auto fits = [&](int n_ranks, int64_t device_bytes, int64_t tokens) {
    const auto ranks = PlanRanks(config, ShardPlan(config, n_ranks), model, {tokens, 256, 1});
    return std::all_of(ranks.begin(), ranks.end(),
                       [&](const RankMemory& rank) { return rank.total_bytes() <= device_bytes; });
  };
  for (const int64_t device_bytes : {10 * kGiB, 24 * kGiB, 40 * kGiB, 80 * kGiB, 200 * kGiB}) {
    const int n_ranks = smallest(device_bytes, 131072);
    ASSERT_GE(n_ranks, 1);
    EXPECT_TRUE(fits(n_ranks, device_bytes, 131072));
    for (int fewer = 1; fewer < n_ranks; ++fewer) EXPECT_FALSE(fits(fewer, device_bytes, 131072));
  }
  EXPECT_EQ(smallest(kMost, 131072), 1);
  // 141 GB of weights, 43 GB of cache: 4 devices of 40 GiB are too few, 8 are enough.
  EXPECT_GT(smallest(40 * kGiB, 131072), 4);
  EXPECT_LE(smallest(40 * kGiB, 131072), 8);
  EXPECT_EQ(smallest(kGiB, 131072), 0);
  EXPECT_EQ(smallest(80 * kGiB, kMost), 0);  // and no overflow on the way
}

}  // namespace
}  // namespace kvfold
