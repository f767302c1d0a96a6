#include "runtime/fold/shared_prefix.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvfold {
namespace {

TEST(CommonTokens, CountsWhatBothBeginWith) {
  const std::vector<TokenId> a = {1, 2, 3, 4};
  EXPECT_EQ(CommonTokens(a, a), 4);
  EXPECT_EQ(CommonTokens(a, std::vector<TokenId>{1, 2, 9, 4}), 2);
  EXPECT_EQ(CommonTokens(a, std::vector<TokenId>{1, 2}), 2);
  EXPECT_EQ(CommonTokens(std::vector<TokenId>{1, 2}, a), 2);
  EXPECT_EQ(CommonTokens(a, std::vector<TokenId>{2, 2, 3, 4}), 0);
  EXPECT_EQ(CommonTokens(a, {}), 0);
}

TEST(ShareableTokens, AreWholeChunksThatLeaveATokenForEach) {
  EXPECT_EQ(ShareableTokens(0, 1, 1), 0);
  EXPECT_EQ(ShareableTokens(15, 100, 16), 0);
  EXPECT_EQ(ShareableTokens(16, 100, 16), 16);
  EXPECT_EQ(ShareableTokens(31, 100, 16), 16);
  EXPECT_EQ(ShareableTokens(32, 100, 16), 32);
  // One request is no more than the prefix: its last token stays its own.
  EXPECT_EQ(ShareableTokens(32, 32, 16), 16);
  EXPECT_EQ(ShareableTokens(16, 16, 16), 0);
  EXPECT_EQ(ShareableTokens(16, 17, 16), 16);
  EXPECT_EQ(ShareableTokens(7, 7, 1), 6);
}

TEST(OwnCacheTokens, CountTheCopyOfAnOpenBlock) {
  EXPECT_EQ(OwnCacheTokens(300, 0), 300);
  EXPECT_EQ(OwnCacheTokens(300, 127), 300);
  EXPECT_EQ(OwnCacheTokens(300, 128), 172);
  EXPECT_EQ(OwnCacheTokens(300, 200), 172);
  EXPECT_EQ(OwnCacheTokens(300, 256), 44);
}

TEST(FittingPrefix, ShrinksUntilAForkFitsBeside) {
  EXPECT_EQ(FittingPrefix(0, 300, 100, 300), 0);
  EXPECT_EQ(FittingPrefix(256, 300, 256, 300), 256);  // full blocks: nothing is held twice
  EXPECT_EQ(FittingPrefix(200, 300, 100, 372), 200);  // 200 + 172
  EXPECT_EQ(FittingPrefix(200, 300, 100, 371), 0);    // 100 + 300 do not fit either
  EXPECT_EQ(FittingPrefix(400, 450, 100, 466), 400);  // 400 + 66
  EXPECT_EQ(FittingPrefix(390, 450, 130, 456), 390);  // 6 of the open block are held twice
  EXPECT_EQ(FittingPrefix(390, 450, 130, 455), 260);  // 4
  EXPECT_EQ(FittingPrefix(390, 450, 130, 453), 130);  // 2
  EXPECT_EQ(FittingPrefix(390, 450, 130, 451), 0);
}

}  // namespace
}  // namespace kvfold
