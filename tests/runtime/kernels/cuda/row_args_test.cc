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

}  // namespace
}  // namespace kvfold::cuda
