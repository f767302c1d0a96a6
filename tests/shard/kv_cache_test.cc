// Edges of KvLayout, KvPool and KvCache; tests/shard/kv_cache_model_test.cc drives them at random.
#include "shard/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "comm/device/cpu_device.h"
#include "comm/error.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Two layers that see all, one with a window between them.
KvLayout SmallLayout(int64_t window = 128) {
  return {GroupLayers({0, window, 0}), /*n_kv_heads=*/1, /*head_dim=*/2, DType::kF32, 1};
}

class KvCacheTest : public testing::Test {
 protected:
  KvPool& MakePool(int64_t capacity_blocks, int64_t window = 128) {
    pool_.emplace(device_, SmallLayout(window),
                  std::vector<int64_t>{capacity_blocks, capacity_blocks});
    return *pool_;
  }
  static void Append(KvCache& cache, int64_t n_tokens) { cache.Commit(cache.Begin(n_tokens)); }
  static std::vector<std::byte*> Blocks(KvCache& cache, int64_t layer) {
    const PendingChunk nothing = cache.Begin(0);
    const KvView view = cache.View(nothing, layer);
    return {view.blocks.begin(), view.blocks.end()};
  }

  CpuDevice device_{1};
  std::optional<KvPool> pool_;
};

TEST(KvLayoutTest, BytesByElementType) {
  KvLayout layout{GroupLayers({0, 0, 0}), 2, 64, DType::kF32, 1};
  EXPECT_EQ(layout.tile_bytes(), 128 * 64 * 4);
  EXPECT_EQ(layout.head_bytes(), 2 * 128 * 64 * 4);
  EXPECT_EQ(layout.block_bytes(0), 3 * 2 * 2 * 128 * 64 * 4);
  layout.dtype = DType::kBF16;
  EXPECT_EQ(layout.head_bytes(), 2 * 128 * 64 * 2);
  layout.dtype = DType::kI8;
  EXPECT_EQ(layout.head_bytes(), 2 * 128 * 64 + 2 * 128 * 4);
  EXPECT_EQ(layout.k_scales_offset(), 2 * 128 * 64);
  EXPECT_EQ(layout.v_scales_offset(), 2 * 128 * 64 + 128 * 4);
  layout.has_key_bias = true;
  EXPECT_EQ(layout.key_bias_offset(), 2 * 128 * 64 + 2 * 128 * 4);
  EXPECT_EQ(layout.head_bytes(), 2 * 128 * 64 + 2 * 128 * 4 + 64 * 4);
  layout.head_dim = 1;
  EXPECT_EQ(layout.head_bytes() % 64, 0);
  EXPECT_THROW(layout.block_bytes(1), std::logic_error);
}

TEST(KvLayoutTest, GroupsLayersByWindowInOrderOfAppearance) {
  EXPECT_TRUE(GroupLayers({}).empty());
  const std::vector<LayerGroup> groups = GroupLayers({64, 0, 64, 32, 0});
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].window, 64);
  EXPECT_THAT(groups[0].layers, ElementsAre(0, 2));
  EXPECT_EQ(groups[1].window, 0);
  EXPECT_THAT(groups[1].layers, ElementsAre(1, 4));
  EXPECT_EQ(groups[2].window, 32);
  EXPECT_THAT(groups[2].layers, ElementsAre(3));
}

TEST_F(KvCacheTest, PoolTakesItsMemoryOnce) {
  const int64_t before = device_.allocated_bytes();
  KvPool& pool = MakePool(3);
  const KvLayout layout = SmallLayout();
  const int64_t bytes = 3 * (layout.block_bytes(0) + layout.block_bytes(1));
  EXPECT_EQ(pool.allocated_bytes(), bytes);
  EXPECT_EQ(device_.allocated_bytes() - before, bytes);
  KvCache cache(pool);
  Append(cache, 300);
  EXPECT_EQ(device_.allocated_bytes() - before, bytes);
  for (std::byte* block : Blocks(cache, 0)) EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
}

TEST_F(KvCacheTest, PoolRefusesMoreThanCanBeCounted) {
  const std::vector<int64_t> too_many = {std::numeric_limits<int64_t>::max() / 2, 1};
  EXPECT_THROW(KvPool(device_, SmallLayout(), too_many), CapacityError);
  EXPECT_THROW(KvPool(device_, SmallLayout(), {1}), std::logic_error);
}

TEST_F(KvCacheTest, BeginTakesBlocksAtBoundaries) {
  KvPool& pool = MakePool(4);
  for (const auto& [n_tokens, blocks] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 0}, {1, 1}, {127, 1}, {128, 1}, {129, 2}, {256, 2}, {257, 3}, {512, 4}}) {
    KvCache cache(pool);
    const PendingChunk chunk = cache.Begin(n_tokens);
    EXPECT_EQ(cache.blocks_held(0), blocks) << n_tokens;
    EXPECT_EQ(cache.blocks_held(1), blocks) << n_tokens;
    EXPECT_EQ(pool.free_blocks(0), 4 - blocks);
    EXPECT_EQ(chunk.begin(), 0);
    EXPECT_EQ(chunk.end(), n_tokens);
    EXPECT_EQ(cache.length(), 0);
    EXPECT_EQ(cache.pending_tokens(), n_tokens);
    EXPECT_EQ(cache.View(chunk, 0).blocks.size(), static_cast<size_t>(blocks));
  }
  EXPECT_EQ(pool.free_blocks(0), 4);
  EXPECT_EQ(pool.free_blocks(1), 4);
}

TEST_F(KvCacheTest, BeginThatDoesNotFitSaysTheNumbersAndChangesNothing) {
  // The second group is the one that is short: the first must not lose its blocks either.
  pool_.emplace(device_, SmallLayout(), std::vector<int64_t>{8, 3});
  KvCache cache(*pool_);
  Append(cache, 130);
  try {
    (void)cache.Begin(260);  // position 390: 4 blocks, 2 more
    FAIL() << "must not fit";
  } catch (const CapacityError& e) {
    EXPECT_THAT(e.what(), HasSubstr("260 tokens after position 130"));
    EXPECT_THAT(e.what(), HasSubstr("window of 128 positions ask for 2 blocks"));
    EXPECT_THAT(e.what(), HasSubstr("1 of 3 are free; nothing was changed"));
  }
  EXPECT_EQ(pool_->free_blocks(0), 6);
  EXPECT_EQ(pool_->free_blocks(1), 1);
  EXPECT_EQ(cache.pending_tokens(), 0);
  EXPECT_THROW((void)cache.Begin(std::numeric_limits<int64_t>::max()), CapacityError);
  EXPECT_THROW((void)cache.Begin(-1), std::logic_error);
  Append(cache, 254);  // exactly what is left
  EXPECT_EQ(pool_->free_blocks(1), 0);
  EXPECT_THROW((void)cache.Begin(1), CapacityError);
  Append(cache, 0);
}

TEST_F(KvCacheTest, PendingChunksSeeThoseBefore) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  Append(cache, 100);
  PendingChunk first = cache.Begin(28);
  PendingChunk second = cache.Begin(1);
  const KvView of_first = cache.View(first, 2);
  const KvView of_second = cache.View(second, 2);
  EXPECT_EQ(of_first.begin, 100);
  EXPECT_EQ(of_first.end, 128);
  EXPECT_EQ(of_first.blocks.size(), 1u);
  EXPECT_EQ(of_second.begin, 128);
  EXPECT_EQ(of_second.end, 129);
  EXPECT_EQ(of_second.blocks.size(), 2u);
  EXPECT_EQ(of_second.blocks[0], of_first.blocks[0]);
  // Layer 2 is the second of the first group, layer 1 the first of the second.
  EXPECT_EQ(of_first.layer_offset_bytes, pool.layout().layer_bytes());
  EXPECT_EQ(of_first.Head(0, 0), of_first.blocks[0] + pool.layout().layer_bytes());
  EXPECT_EQ(of_first.window, 0);
  EXPECT_EQ(cache.View(first, 1).layer_offset_bytes, 0);
  EXPECT_EQ(cache.View(first, 1).window, 128);
  EXPECT_NE(cache.View(first, 1).blocks[0], of_first.blocks[0]);
  EXPECT_THROW((void)cache.View(first, 3), std::logic_error);
  EXPECT_THROW((void)cache.View(first, -1), std::logic_error);
  cache.Commit(std::move(first));
  EXPECT_EQ(cache.length(), 128);
  EXPECT_EQ(cache.pending_tokens(), 1);
  cache.Commit(std::move(second));
  EXPECT_EQ(cache.length(), 129);
}

TEST_F(KvCacheTest, CommitOutOfOrderIsABugAndUndoesThatChunk) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  KvCache other(pool);
  PendingChunk first = cache.Begin(10);
  PendingChunk second = cache.Begin(200);
  EXPECT_THROW(cache.Commit(std::move(second)), std::logic_error);
  EXPECT_EQ(cache.length(), 0);
  EXPECT_EQ(cache.pending_tokens(), 10);
  EXPECT_EQ(pool.free_blocks(0), 3);
  EXPECT_THROW(cache.Commit(PendingChunk()), std::logic_error);
  EXPECT_THROW((void)other.View(first, 0), std::logic_error);
  EXPECT_THROW(other.Commit(std::move(first)), std::logic_error);
  EXPECT_EQ(cache.pending_tokens(), 0);
  EXPECT_EQ(pool.free_blocks(0), 4);
  // Chunks without tokens have their place in the order too.
  PendingChunk empty = cache.Begin(0);
  PendingChunk full = cache.Begin(5);
  EXPECT_THROW(cache.Commit(std::move(full)), std::logic_error);
  cache.Commit(std::move(empty));
}

TEST_F(KvCacheTest, DroppedTicketsUndoLastFirst) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  Append(cache, 100);
  std::optional<PendingChunk> first(cache.Begin(100));   // takes block 1
  std::optional<PendingChunk> second(cache.Begin(100));  // block 2
  EXPECT_EQ(pool.free_blocks(0), 1);
  const std::byte* const second_block = cache.View(*second, 0).blocks[2];
  second.reset();
  EXPECT_EQ(pool.free_blocks(0), 2);
  EXPECT_EQ(cache.pending_tokens(), 100);
  second.emplace(cache.Begin(60));  // the same block again: a dropped chunk leaves no trace
  EXPECT_EQ(cache.View(*second, 0).blocks[2], second_block);
  second.reset();
  first.reset();
  EXPECT_EQ(pool.free_blocks(0), 3);  // block 0 is held by the committed positions
  EXPECT_EQ(cache.length(), 100);
  EXPECT_EQ(cache.blocks_held(0), 1);
}

TEST_F(KvCacheTest, TicketDroppedBeforeItsTimeTakesTheLaterOnesAlong) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  std::optional<PendingChunk> first(cache.Begin(100));
  PendingChunk second = cache.Begin(100);
  first.reset();
  EXPECT_EQ(pool.free_blocks(0), 4);
  EXPECT_EQ(cache.pending_tokens(), 0);
  EXPECT_THROW((void)cache.View(second, 0), std::logic_error);
  PendingChunk third = cache.Begin(1);
  EXPECT_THROW(cache.Commit(std::move(second)), std::logic_error);
  cache.Commit(std::move(third));
  EXPECT_EQ(cache.length(), 1);
}

TEST_F(KvCacheTest, MovedFromTicketsAreInert) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  PendingChunk first = cache.Begin(10);
  PendingChunk moved = std::move(first);
  EXPECT_EQ(first.end(), 0);  // NOLINT: a moved-from ticket is specified to be inert
  EXPECT_EQ(moved.end(), 10);
  EXPECT_THROW(cache.Commit(std::move(first)), std::logic_error);
  EXPECT_EQ(cache.pending_tokens(), 10);
  PendingChunk& same = moved;
  moved = std::move(same);
  EXPECT_EQ(cache.pending_tokens(), 10);
  PendingChunk later = cache.Begin(20);
  later = PendingChunk();  // assigned to: undoes what it held
  EXPECT_EQ(cache.pending_tokens(), 10);
  EXPECT_EQ(later.begin(), 0);
  cache.Commit(std::move(moved));
  EXPECT_EQ(cache.length(), 10);
}

TEST_F(KvCacheTest, ForkSharesFullBlocksAndCopiesTheTail) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  Append(cache, 130);
  const std::vector<std::byte*> blocks = Blocks(cache, 0);
  std::memset(blocks[1], 7, static_cast<size_t>(pool.layout().block_bytes(0)));
  const std::unique_ptr<KvCache> fork = cache.Fork();
  EXPECT_EQ(fork->length(), 130);
  EXPECT_EQ(pool.free_blocks(0), 1);
  const std::vector<std::byte*> forked = Blocks(*fork, 0);
  EXPECT_EQ(forked[0], blocks[0]);
  EXPECT_NE(forked[1], blocks[1]);
  EXPECT_EQ(std::memcmp(forked[1], blocks[1], static_cast<size_t>(pool.layout().block_bytes(0))),
            0);
  (void)cache.Fork();
  {
    const PendingChunk pending = cache.Begin(1);
    EXPECT_THROW((void)cache.Fork(), std::logic_error);
  }
  Append(*fork, 200);  // 330: takes the last block
  EXPECT_THROW((void)cache.Fork(), CapacityError);
  EXPECT_EQ(pool.free_blocks(0), 0);
  cache.Truncate(128);
  EXPECT_EQ(pool.free_blocks(0), 1);
  EXPECT_EQ(cache.Fork()->blocks_held(0), 1);  // no tail, no block
}

TEST_F(KvCacheTest, ForkOutlivesItsParent) {
  KvPool& pool = MakePool(4);
  auto cache = std::make_unique<KvCache>(pool);
  Append(*cache, 130);
  const std::unique_ptr<KvCache> fork = cache->Fork();
  cache.reset();
  EXPECT_EQ(pool.free_blocks(0), 2);
  EXPECT_EQ(fork->blocks_held(0), 2);
}

TEST_F(KvCacheTest, TruncateIntoASharedBlockCopiesIt) {
  KvPool& pool = MakePool(3, /*window=*/1000);
  KvCache cache(pool);
  Append(cache, 256);
  const std::unique_ptr<KvCache> fork = cache.Fork();
  EXPECT_EQ(pool.free_blocks(0), 1);
  const std::vector<std::byte*> blocks = Blocks(cache, 0);
  std::memset(blocks[1], 9, static_cast<size_t>(pool.layout().block_bytes(0)));
  cache.Truncate(255);
  EXPECT_EQ(pool.free_blocks(0), 0);
  EXPECT_NE(Blocks(cache, 0)[1], blocks[1]);
  EXPECT_EQ(Blocks(*fork, 0)[1], blocks[1]);
  EXPECT_EQ(*Blocks(cache, 0)[1], std::byte{9});
  cache.Truncate(200);  // its own block now: no copy
  EXPECT_EQ(pool.free_blocks(0), 0);
  fork->Truncate(128);  // nobody else holds the fork's second block any more
  EXPECT_EQ(pool.free_blocks(0), 1);
  cache.Truncate(0);
  EXPECT_EQ(cache.blocks_held(0), 0);
  EXPECT_EQ(pool.free_blocks(0), 2);
  fork->Truncate(1);  // no longer shared
  EXPECT_EQ(pool.free_blocks(0), 2);
}

TEST_F(KvCacheTest, TruncateWithoutABlockForTheCopyChangesNothing) {
  // Only the second group is short of one.
  pool_.emplace(device_, SmallLayout(1000), std::vector<int64_t>{3, 2});
  KvCache cache(*pool_);
  Append(cache, 256);
  const std::unique_ptr<KvCache> fork = cache.Fork();
  EXPECT_THROW(cache.Truncate(255), CapacityError);
  EXPECT_EQ(cache.length(), 256);
  EXPECT_EQ(cache.blocks_held(0), 2);
  EXPECT_EQ(pool_->free_blocks(0), 1);
  EXPECT_EQ(Blocks(cache, 0), Blocks(*fork, 0));
  cache.Truncate(128);  // whole blocks need no copy
  EXPECT_EQ(Blocks(cache, 1).size(), 1u);
}

TEST_F(KvCacheTest, TruncateMayUseABlockThatItFrees) {
  KvPool& pool = MakePool(3, /*window=*/1000);
  KvCache cache(pool);
  Append(cache, 256);
  const std::unique_ptr<KvCache> fork = cache.Fork();
  Append(cache, 1);
  EXPECT_EQ(pool.free_blocks(0), 0);
  cache.Truncate(200);
  EXPECT_EQ(pool.free_blocks(0), 0);
  EXPECT_EQ(cache.length(), 200);
  EXPECT_THROW(cache.Truncate(201), std::logic_error);
  EXPECT_THROW(cache.Truncate(-1), std::logic_error);
}

TEST_F(KvCacheTest, DropBeforeAtBoundaries) {
  KvPool& pool = MakePool(4);
  KvCache cache(pool);
  Append(cache, 384);
  cache.DropBefore(1, 0);
  cache.DropBefore(1, 127);
  EXPECT_EQ(cache.blocks_held(1), 3);
  cache.DropBefore(1, 128);
  EXPECT_EQ(cache.blocks_held(1), 2);
  cache.DropBefore(1, 100);  // gone already
  EXPECT_EQ(cache.blocks_held(1), 2);
  EXPECT_EQ(cache.blocks_held(0), 3);
  EXPECT_EQ(pool.free_blocks(1), 2);
  cache.DropBefore(1, 384);
  EXPECT_EQ(cache.blocks_held(1), 0);
  EXPECT_THROW(cache.DropBefore(1, 385), std::logic_error);
  EXPECT_THROW(cache.DropBefore(1, -1), std::logic_error);
  const PendingChunk chunk = cache.Begin(1);
  const KvView view = cache.View(chunk, 1);
  EXPECT_EQ(view.first_block, 3);
  EXPECT_EQ(view.oldest(), 384);
  EXPECT_EQ(view.blocks.size(), 1u);
  EXPECT_EQ(view.Head(3, 0), view.blocks[0]);
  EXPECT_EQ(cache.View(chunk, 0).blocks.size(), 4u);
  EXPECT_THROW(cache.DropBefore(1, 0), std::logic_error);  // a chunk is pending
}

TEST_F(KvCacheTest, DropOutOfSightKeepsWhatTheNextTokenSees) {
  KvPool& pool = MakePool(8);
  KvCache cache(pool);
  cache.DropOutOfSight();
  Append(cache, 254);  // the next query, at 254, sees [127, 254]
  cache.DropOutOfSight();
  EXPECT_EQ(cache.blocks_held(1), 2);
  Append(cache, 1);  // at 255 it sees [128, 255]
  cache.DropOutOfSight();
  EXPECT_EQ(cache.blocks_held(1), 1);
  EXPECT_EQ(cache.blocks_held(0), 2);
  // What 254 would see has been dropped; all of a sequence can always be forgotten.
  EXPECT_THROW(cache.Truncate(254), std::logic_error);
  EXPECT_EQ(cache.length(), 255);
  cache.Truncate(0);
  EXPECT_EQ(pool.free_blocks(1), 8);
  Append(cache, 1);
  EXPECT_EQ(Blocks(cache, 1).size(), 1u);
}

TEST_F(KvCacheTest, WindowOfOneHoldsOneBlockAtMost) {
  KvPool& pool = MakePool(8, /*window=*/1);
  KvCache cache(pool);
  for (int i = 0; i < 300; ++i) {
    Append(cache, 1);
    cache.DropOutOfSight();
    EXPECT_LE(cache.blocks_held(1), 1);
  }
  EXPECT_EQ(cache.blocks_held(0), 3);
}

TEST_F(KvCacheTest, SameCallsTakeTheSameBlocks) {
  const auto offsets = [&] {
    KvPool pool(device_, SmallLayout(), {8, 8});
    KvCache cache(pool);
    Append(cache, 300);
    const std::unique_ptr<KvCache> fork = cache.Fork();
    cache.Truncate(100);
    Append(*fork, 300);
    Append(cache, 50);
    std::vector<std::ptrdiff_t> result;
    for (KvCache* each : {&cache, fork.get()}) {
      for (std::byte* block : Blocks(*each, 1)) result.push_back(block - Blocks(*fork, 1)[0]);
    }
    return result;
  };
  EXPECT_EQ(offsets(), offsets());
}

TEST_F(KvCacheTest, DeathOfACacheWithAPendingChunk) {
  EXPECT_DEATH(
      {
        PendingChunk chunk;
        KvCache cache(MakePool(1));
        chunk = cache.Begin(1);
      },
      "1 of its chunks are pending");
}

TEST_F(KvCacheTest, DeathOfAPoolWithACache) {
  EXPECT_DEATH(
      {
        const KvCache cache(MakePool(1));
        pool_.reset();
      },
      "1 of its caches are alive");
}

}  // namespace
}  // namespace kvfold
