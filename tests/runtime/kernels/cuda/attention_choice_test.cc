// The arithmetic of attention over the block table.
#include "runtime/kernels/cuda/attention_choice.h"

#include <gtest/gtest.h>

#include <set>

#include "runtime/kernels/cuda/dispatch.h"

namespace kvfold::cuda {
namespace {

TEST(VisibleKeysTest, EndAtTheTokenAndBeginAtTheWindow) {
  for (const int window : {0, 1, 2, 64, 127, 128, 1000}) {
    for (int position = 0; position < 300; ++position) {
      const KeyRange seen = VisibleKeys(position, window);
      for (int key = 0; key < 400; ++key) {
        const bool sees = key <= position && (window == 0 || key > position - window);
        ASSERT_EQ(seen.begin <= key && key < seen.end, sees)
            << "position " << position << ", key " << key << ", window " << window;
      }
    }
  }
}

TEST(KeyTilesTest, CoverWhatIsSeenAndMaskWhatIsNot) {
  for (const int key_tile : {32, 64}) {
    for (const int window : {0, 1, 63, 64, 65, 200}) {
      for (int first = 0; first < 260; first += 13) {
        for (int last = first; last < first + 70; last += 23) {
          const KeyRange tiles = KeyTilesOf(first, last, window, key_tile);
          ASSERT_LT(tiles.begin, tiles.end);
          for (int tile = 0; tile < 8; ++tile) {
            bool any = false, all = true;
            for (int key = tile * key_tile; key < (tile + 1) * key_tile; ++key) {
              for (int position = first; position <= last; ++position) {
                const KeyRange seen = VisibleKeys(position, window);
                const bool sees = seen.begin <= key && key < seen.end;
                any |= sees;
                all &= sees;
              }
            }
            const bool taken = tiles.begin <= tile && tile < tiles.end;
            ASSERT_TRUE(taken || !any) << "tile " << tile << " of " << first << " to " << last;
            if (taken) {
              ASSERT_EQ(NeedsMask(first, last, window, tile * key_tile, key_tile), !all)
                  << "tile " << tile << " of " << first << " to " << last << ", window " << window;
            }
          }
        }
      }
    }
  }
}

TEST(SplitTest, SplitsAreNeighboursAsEqualAsCanBe) {
  for (const int begin : {0, 5}) {
    for (int n = 1; n < 40; ++n) {
      for (int n_splits = 1; n_splits <= n; ++n_splits) {
        int at = begin;
        for (int split = 0; split < n_splits; ++split) {
          const KeyRange part = SplitOf({begin, begin + n}, n_splits, split);
          ASSERT_EQ(part.begin, at);
          ASSERT_GE(part.end - part.begin, n / n_splits);
          ASSERT_LE(part.end - part.begin, n / n_splits + 1);
          at = part.end;
        }
        ASSERT_EQ(at, begin + n);
      }
    }
  }
}

template <int kHeadDim>
void ExpectFreeOfConflicts() {
  constexpr int kChunks = kHeadDim / 8;
  for (int row = 0; row < 128; ++row) {
    std::set<int> places;
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int place = SwizzledChunk<kHeadDim>(row, chunk);
      ASSERT_GE(place, 0);
      ASSERT_LT(place, kChunks);
      places.insert(place);
    }
    ASSERT_EQ(places.size(), static_cast<size_t>(kChunks));
  }
  for (int row = 0; row < 128; row += 8) {  // a matrix load: eight rows, the same piece of each
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      std::set<int> banks;
      for (int i = 0; i < 8; ++i) {
        banks.insert(SwizzledOffsetBytes<kHeadDim>(row + i, chunk) / 16 % 8);
      }
      ASSERT_EQ(banks.size(), 8u) << "head_dim " << kHeadDim << ", row " << row;
    }
  }
}

TEST(SwizzleTest, RowsKeepTheirPiecesAndMeetInNoBank) {
  ExpectFreeOfConflicts<64>();
  ExpectFreeOfConflicts<96>();
  ExpectFreeOfConflicts<128>();
  ExpectFreeOfConflicts<256>();
}

TEST(TilingTest, FitsEveryDeviceAndItsBlocks) {
  constexpr int kLeastSharedBytes = 99 << 10;  // that a block gets on any device of sm_80 or later
  for (const int head_dim : {64, 96, 128, 256}) {
    for (const int64_t rows : {1, 16, 17, 5000}) {
      for (const bool int8 : {false, true}) {
        const AttentionTiling tiling = ChooseTiling(head_dim, rows, int8);
        EXPECT_EQ(tiling.warps == 1, rows <= kFewRows);
        EXPECT_EQ(kBlockTokens % tiling.key_tile, 0);
        EXPECT_EQ(tiling.key_tile % 16, 0);
        EXPECT_EQ(tiling.rows_per_warp % 16, 0);
        EXPECT_GE(tiling.stages, 2);
        EXPECT_LE(SharedBytes(head_dim, tiling, int8), kLeastSharedBytes) << head_dim;
        EXPECT_EQ(SharedBytes(head_dim, tiling, int8) % 16, 0);
        // Room for partial results is sized by either cache's row tile.
        EXPECT_EQ(tiling.row_tile(), ChooseTiling(head_dim, rows, !int8).row_tile());
      }
    }
  }
}

TEST(TilingTest, EveryHeadDimOfTheMatrixKernelsIsDispatched) {
  for (int head_dim = 1; head_dim <= 300; ++head_dim) {
    if (!HasMatrixKernel(head_dim)) {
      EXPECT_ANY_THROW(WithHeadDim(head_dim, []<int>() {}));
      continue;
    }
    int got = 0;
    WithHeadDim(head_dim, [&]<int kHeadDim>() { got = kHeadDim; });
    EXPECT_EQ(got, head_dim);
  }
}

TEST(SplitsTest, FillTheDeviceWithoutCrumbs) {
  // Decoding, 8 KV heads, 128K tokens on 132 multiprocessors.
  EXPECT_EQ(ChooseSplits(8, 2048, 264), 29);
  // A chunk of 1024 tokens of 4 query heads a KV head fills it alone.
  EXPECT_EQ(ChooseSplits(32 * 8, 2048, 264), 1);
  EXPECT_EQ(ChooseSplits(1, 0, 264), 1);
  EXPECT_EQ(ChooseSplits(1, 7, 264), 1);
  EXPECT_EQ(ChooseSplits(1, 8, 264), 2);
  for (int64_t row_tiles = 1; row_tiles < 700; row_tiles += 7) {
    for (const int64_t key_tiles : {1, 3, 4, 100, 2048, 16384}) {
      for (const int64_t blocks : {8, 216, 264}) {
        const int64_t splits = ChooseSplits(row_tiles, key_tiles, blocks);
        ASSERT_GE(splits, 1);
        if (splits == 1) continue;
        ASSERT_LE(splits * row_tiles, MostPartialTiles(blocks));
        ASSERT_GE(key_tiles / splits, kLeastSplitTiles);
        // Long ones use at least 80% of what they occupy.
        const int64_t waves = CeilDiv(splits * row_tiles, blocks);
        if (key_tiles >= 2048 && row_tiles <= blocks) {
          ASSERT_GE(static_cast<double>(splits * row_tiles),
                    0.7 * static_cast<double>(waves * blocks))
              << row_tiles << " row tiles, " << key_tiles << " key tiles, " << blocks;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvfold::cuda
