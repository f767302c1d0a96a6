#include "runtime/kernels/cuda/row_args.h"

#include <gtest/gtest.h>

namespace kvfold::cuda {
namespace {

TEST(ArgMaxColumns, CoversARowWithFewParts) {
  for (int64_t cols = 1; cols < 3'000'000; cols += 1 + cols / 50) {
    const int64_t part = ArgMaxColumns(cols);
    EXPECT_EQ(part % 8, 0) << cols;  // parts of an aligned row are aligned
    EXPECT_LE((cols + part - 1) / part, kMostArgMaxParts) << cols;
  }
  EXPECT_EQ(ArgMaxColumns(4096), 4096);
  EXPECT_EQ(ArgMaxColumns(128256), 4096);
  EXPECT_EQ(ArgMaxColumns(64 * 4096 + 1), 4104);
}

TEST(RopeLanesPerHead, HoldAHeadInRunsOf8) {
  EXPECT_EQ(RopeLanesPerHead(256, true), 16);
  EXPECT_EQ(RopeLanesPerHead(128, true), 8);
  EXPECT_EQ(RopeLanesPerHead(96, true), 8);  // two of them idle
  EXPECT_EQ(RopeLanesPerHead(80, true), 8);
  EXPECT_EQ(RopeLanesPerHead(64, true), 4);
  EXPECT_EQ(RopeLanesPerHead(16, true), 1);
  EXPECT_EQ(RopeLanesPerHead(256, false), 32);
}

}  // namespace
}  // namespace kvfold::cuda
