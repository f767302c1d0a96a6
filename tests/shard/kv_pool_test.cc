// KvPool::BlocksFor: how many blocks a pool must have. What a pool does is tested through its
// caches: kv_cache_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "comm/device/cpu_device.h"
#include "comm/error.h"
#include "shard/kv_cache.h"

namespace kvfold {
namespace {

using testing::ElementsAre;

// Two layers that see all, one with a window between them.
KvLayout PoolLayout(int64_t window) {
  return {GroupLayers({0, window, 0}), /*n_kv_heads=*/1, /*head_dim=*/2, DType::kF32, 1};
}

int64_t Ceil(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

// The most blocks that one sequence of at most t tokens ever holds, by trying every committed
// length and chunk.
int64_t MostBlocksOfOne(int64_t t, int64_t window, int64_t chunk) {
  int64_t most = 0;
  for (int64_t length = 0; length <= t; ++length) {
    const int64_t first =
        window == 0 ? 0 : std::max<int64_t>(0, length - window + 1) / kBlockTokens;
    most = std::max(most, Ceil(std::min(t, length + chunk)) - first);
  }
  return most;
}

TEST(BlocksForTest, IsTheMostThatSequencesCanHold) {
  constexpr int64_t kMaxTokens = 420;
  for (const int64_t window : {0, 1, 2, 3, 64, 127, 128, 129, 130, 131, 256, 257, 1000}) {
    for (const int64_t chunk : {1, 2, 64, 127, 128, 129, 256, 500}) {
      KvLayout layout = PoolLayout(0);
      layout.groups = {{{0}, window}};
      std::vector<int64_t> of_one(kMaxTokens + 1);
      for (int64_t t = 0; t <= kMaxTokens; ++t) of_one[t] = MostBlocksOfOne(t, window, chunk);
      std::vector<int64_t> best = of_one;  // by tokens, of one sequence, then two, three
      for (int64_t sequences = 1; sequences <= 3; ++sequences) {
        for (int64_t t = 0; t <= kMaxTokens; ++t) {
          ASSERT_EQ(KvPool::BlocksFor(layout, {t, chunk, sequences})[0], best[t])
              << "tokens " << t << " window " << window << " chunk " << chunk << " sequences "
              << sequences;
        }
        std::vector<int64_t> next(kMaxTokens + 1);
        for (int64_t t = 0; t <= kMaxTokens; ++t) {
          for (int64_t last = 0; last <= t; ++last) {
            next[t] = std::max(next[t], best[t - last] + of_one[last]);
          }
        }
        best = std::move(next);
      }
    }
  }
}

TEST(BlocksForTest, EdgesAndLargeNumbers) {
  const KvLayout layout = PoolLayout(128);
  EXPECT_THAT(KvPool::BlocksFor(layout, {0, 256, 4}), ElementsAre(0, 0));
  EXPECT_THAT(KvPool::BlocksFor(layout, {1, 256, 4}), ElementsAre(1, 1));
  EXPECT_THAT(KvPool::BlocksFor(layout, {131072, 256, 1}), ElementsAre(1024, 4));
  EXPECT_THAT(KvPool::BlocksFor(layout, {131072, 1, 1}), ElementsAre(1024, 2));
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(KvPool::BlocksFor(layout, {kMost, kMost, 1}),
              ElementsAre(kMost / 128 + 1, testing::Gt(0)));
  EXPECT_THAT(KvPool::BlocksFor(layout, {kMost, 1, kMost}), ElementsAre(kMost, kMost));
  EXPECT_THROW(KvPool::BlocksFor(layout, {-1, 1, 1}), std::logic_error);
  EXPECT_THROW(KvPool::BlocksFor(layout, {1, -1, 1}), std::logic_error);
  EXPECT_THROW(KvPool::BlocksFor(layout, {1, 1, 0}), std::logic_error);
}

// The bound holds for real caches: nothing is refused, and the group that sees all ends without a
// free block.
TEST(BlocksForTest, IsEnoughForAFold) {
  CpuDevice device(1);
  for (const int64_t chunk : {1, 7, 100, 128, 200}) {
    for (const int64_t tokens : {1, 128, 129, 700}) {
      const KvLayout layout = PoolLayout(150);
      KvPool pool(device, layout, KvPool::BlocksFor(layout, {tokens, chunk, 1}));
      KvCache cache(pool);
      while (cache.length() < tokens) {
        ASSERT_NO_THROW(cache.Commit(cache.Begin(std::min(chunk, tokens - cache.length()))));
        cache.DropOutOfSight();
      }
      EXPECT_EQ(pool.free_blocks(0), 0);
    }
  }
}

}  // namespace
}  // namespace kvfold
