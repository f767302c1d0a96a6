// A comparator that lets NaN or a wrong sign through checks nothing.
#include <limits>
#include <vector>

#include "tests/runtime/kernels/reference.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

TEST(AllCloseTest, AcceptsWhatIsWithinTheTolerance) {
  EXPECT_TRUE(AllClose(Floats{}, Floats{}, 0.0));
  EXPECT_TRUE(AllClose(Floats{1, -2}, Floats{1, -2}, 0.0));
  EXPECT_TRUE(AllClose(Floats{1.0f, -2.5f}, Floats{1.5f, -2.0f}, 0.5));
}

TEST(AllCloseTest, RefusesMoreThanTheTolerance) {
  EXPECT_FALSE(AllClose(Floats{1.0f, -2.5f}, Floats{1.0f, -2.0f}, 0.499));
  EXPECT_FALSE(AllClose(Floats{1.0f}, Floats{1.0000001f}, 0.0));
}

TEST(AllCloseTest, RefusesNanWhereverItStands) {
  EXPECT_FALSE(AllClose(Floats{kNan}, Floats{1}, 1e30));
  EXPECT_FALSE(AllClose(Floats{1}, Floats{kNan}, 1e30));
  EXPECT_FALSE(AllClose(Floats{kNan}, Floats{kNan}, 1e30));
  EXPECT_FALSE(AllClose(Floats{0, 1, kNan}, Floats{0, 1, 2}, 1e30));
  EXPECT_FALSE(AllClose(Floats{9, 1, kNan}, Floats{0, 1, 2}, 1.0));
  EXPECT_FALSE(AllClose(Floats{1}, Floats{1}, std::numeric_limits<double>::quiet_NaN()));
}

TEST(AllCloseTest, RefusesInfinity) {
  EXPECT_FALSE(AllClose(Floats{kInfinity}, Floats{1}, 1e30));
  EXPECT_FALSE(AllClose(Floats{-kInfinity}, Floats{kInfinity}, 1e30));
}

TEST(AllCloseTest, RefusesAWrongSign) {
  EXPECT_FALSE(AllClose(Floats{-5}, Floats{5}, 1.0));
  EXPECT_FALSE(AllClose(Floats{5}, Floats{-5}, 1.0));
  EXPECT_FALSE(AllClose(Floats{-5}, Floats{-6}, 0.5));
}

TEST(AllCloseTest, RefusesOtherSizes) {
  EXPECT_FALSE(AllClose(Floats{1}, Floats{1, 1}, 1.0));
  EXPECT_FALSE(AllClose(Floats{1, 1}, Floats{1}, 1.0));
}

TEST(AllCloseTest, NamesTheWorstElement) {
  EXPECT_STREQ(AllClose(Floats{0, 2, 9, 3}, Floats{0, 0, 0, 0}, 1.0).message(),
               "[2] got 9, want 0, tolerance 1");
}

TEST(SameBitsTest, ComparesBitsAndSizes) {
  EXPECT_TRUE(SameBits(Floats{1, -0.0f, kNan}, Floats{1, -0.0f, kNan}));
  EXPECT_FALSE(SameBits(Floats{0.0f}, Floats{-0.0f}));
  EXPECT_FALSE(SameBits(Floats{kNan}, Floats{1}));
  EXPECT_FALSE(SameBits(Floats{5}, Floats{-5}));
  EXPECT_FALSE(SameBits(Floats{1}, Floats{1, 1}));
}

TEST(WithinBoundsTest, AcceptsUpToTheBoundOfEachElement) {
  EXPECT_TRUE(WithinBounds(Floats{}, Doubles{}, Doubles{}));
  EXPECT_TRUE(WithinBounds(Floats{1, 2}, Doubles{1, 2.5}, Doubles{0, 0.5}));
  EXPECT_FALSE(WithinBounds(Floats{1, 2}, Doubles{1.5, 2}, Doubles{0, 0.5}));
}

TEST(WithinBoundsTest, RefusesNanInfinityWrongSignsAndOtherSizes) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(WithinBounds(Floats{kNan}, Doubles{1}, Doubles{1e30}));
  EXPECT_FALSE(WithinBounds(Floats{1}, Doubles{nan}, Doubles{1e30}));
  EXPECT_FALSE(WithinBounds(Floats{1}, Doubles{1}, Doubles{nan}));
  EXPECT_FALSE(WithinBounds(Floats{kInfinity}, Doubles{1}, Doubles{1e30}));
  EXPECT_FALSE(WithinBounds(Floats{-5}, Doubles{5}, Doubles{1}));
  EXPECT_FALSE(WithinBounds(Floats{1}, Doubles{1, 1}, Doubles{1, 1}));
  EXPECT_FALSE(WithinBounds(Floats{1, 1}, Doubles{1, 1}, Doubles{1}));
}

TEST(Bf16Test, RoundsToNearestTiesToEven) {
  EXPECT_EQ(Bf16Bits(1.0f), 0x3f80);
  EXPECT_EQ(Bf16Bits(1.0f + 0x1p-8f), 0x3f80);  // a tie, to even
  EXPECT_EQ(Bf16Bits(1.0f + 0x3p-8f), 0x3f82);  // a tie, to even
  EXPECT_EQ(Bf16Bits(1.0f + 0x1p-8f + 0x1p-23f), 0x3f81);
  EXPECT_EQ(Bf16Bits(-1.0f - 0x1p-8f - 0x1p-23f), 0xbf81);
  EXPECT_EQ(Bf16Bits(kInfinity), 0x7f80);
  EXPECT_TRUE(std::isnan(RoundToBf16(kNan)));
  EXPECT_EQ(RoundToBf16(-127.0f), -127.0f);
}

TEST(StoreErrorTest, IsHalfAStepOfBf16) {
  EXPECT_NEAR(StoreError(DType::kBF16, 1.0, 0), 0x1p-8, 0x1p-60);
  EXPECT_NEAR(StoreError(DType::kBF16, -3.9, 0), 0x1p-7, 0x1p-60);
  EXPECT_NEAR(StoreError(DType::kBF16, 3.9, 0.2), 0x1p-6, 0x1p-60);  // may lie beyond 4
  EXPECT_LT(StoreError(DType::kF32, 1.0, 0), 1e-37);
}

}  // namespace
}  // namespace kvfold
