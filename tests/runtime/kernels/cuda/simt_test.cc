// The emulator itself: that it runs what a GPU runs, and sees what a GPU would not forgive.
#include "tests/support/simt/simt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/simt/ptx_emulated.h"

namespace kvfold::simt {
namespace {

class SimtTest : public testing::Test {
 protected:
  SimtTest() { RegisterMemory(memory_.data(), static_cast<int64_t>(memory_.size() * 4)); }
  ~SimtTest() override { UnregisterMemory(memory_.data()); }
  std::vector<float> memory_ = std::vector<float>(1024, 1.0f);
};

// The error of a launch of two warps, empty where there is none.
std::string ErrorOf(const std::function<void()>& body, int64_t shared_bytes = 256,
                    Schedule schedule = {}) {
  try {
    Launch({1, 1, 64, shared_bytes}, schedule, body);
  } catch (const SimtError& error) {
    return error.what();
  }
  return {};
}

TEST_F(SimtTest, ThreadsMeetAtBarriersAndInCollectives) {
  Launch({2, 3, 64, 256}, {}, [this] {
    const int thread = ptx::ThreadX();
    auto* const shared = reinterpret_cast<float*>(ptx::Shared());
    ptx::StoreShared(shared + thread, static_cast<float>(thread));
    ptx::SyncThreads();
    float x = ptx::LoadShared(shared + (63 - thread));
    for (int lanes = 16; lanes > 0; lanes /= 2) x += ptx::ShuffleXor(x, lanes);
    const int block = ptx::BlockY() * 2 + ptx::BlockX();
    ptx::Store(memory_.data() + block * 64 + thread, x);
  });
  for (int i = 0; i < 6 * 64; ++i) {
    const float want = i % 64 < 32 ? 32 * 47.5f : 32 * 15.5f;  // of the other warp's threads
    ASSERT_EQ(memory_[static_cast<size_t>(i)], want) << i;
  }
}

TEST_F(SimtTest, MatrixProductsHaveTheLayoutsOfThePtxManual) {
  // A [16][16] and B [8][16] (its rows are columns of the product) through ldmatrix, D = A B^T.
  std::vector<double> a(256), b(128);
  Launch({1, 1, 32, 768}, {}, [&] {
    const int lane = ptx::ThreadX();
    auto* const shared = reinterpret_cast<uint16_t*>(ptx::Shared());
    for (int i = lane; i < 384; i += 32) {
      const float x = static_cast<float>(i * 37 % 23 - 11);
      (i < 256 ? a[static_cast<size_t>(i)] : b[static_cast<size_t>(i - 256)]) = x;
      ptx::StoreShared(shared + i, static_cast<uint16_t>(ptx::PackBf16x2(x, 0) & 0xffff));
    }
    ptx::SyncWarp();
    uint32_t fragment_a[4], fragment_b[4];
    ptx::LdMatrixX4(fragment_a, shared + lane % 16 * 16 + lane / 16 * 8);
    ptx::LdMatrixX4(fragment_b, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
    float d[4] = {0, 0, 0, 100};
    ptx::MmaBf16_16816(d, fragment_a, fragment_b[0], fragment_b[1]);
    for (int i = 0; i < 4; ++i) {
      ptx::Store(memory_.data() + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2, d[i]);
    }
  });
  for (size_t m = 0; m < 16; ++m) {
    for (size_t n = 0; n < 8; ++n) {
      double want = m >= 8 && n % 2 == 1 ? 100 : 0;
      for (size_t k = 0; k < 16; ++k) want += a[m * 16 + k] * b[n * 16 + k];
      ASSERT_EQ(memory_[m * 8 + n], want) << m << ", " << n;
    }
  }
}

TEST_F(SimtTest, TransposedLoadsExchangeRowsAndColumns) {
  Launch({1, 1, 32, 512}, {}, [&] {
    const int lane = ptx::ThreadX();
    auto* const shared = reinterpret_cast<uint16_t*>(ptx::Shared());
    for (int i = lane; i < 256; i += 32) ptx::StoreShared(shared + i, static_cast<uint16_t>(i));
    ptx::SyncWarp();
    uint32_t r[4];
    ptx::LdMatrixX4Trans(r, shared + lane * 8);
    for (int matrix = 0; matrix < 4; ++matrix) {
      for (int half = 0; half < 2; ++half) {
        const uint32_t got = r[matrix] >> (16 * half) & 0xffffu;
        EXPECT_EQ(got, static_cast<uint32_t>(matrix * 64 + (lane % 4 * 2 + half) * 8 + lane / 4));
      }
    }
  });
}

TEST_F(SimtTest, SharedMemoryStartsAsNaN) {
  Launch({1, 1, 32, 256}, {},
         [] { EXPECT_TRUE(std::isnan(ptx::LoadShared(reinterpret_cast<float*>(ptx::Shared())))); });
}

TEST_F(SimtTest, CopiesLandAtTheirWait) {
  for (const bool late : {false, true}) {
    EXPECT_EQ(ErrorOf(
                  [&] {
                    auto* const to = reinterpret_cast<float*>(ptx::Shared());
                    if (ptx::ThreadX() == 0) {
                      ptx::StoreShared(to, 5.0f);
                      ptx::CpAsync16(to, memory_.data());
                      ptx::CpAsyncCommit();
                      ptx::CpAsyncCommit();
                      // Neither what was there nor, where it is late, what comes.
                      EXPECT_EQ(std::isnan(ptx::LoadShared(to)), late);
                      ptx::CpAsyncWait<1>();
                      EXPECT_EQ(ptx::LoadShared(to), 1.0f);
                      ptx::CpAsyncWait<0>();
                    }
                    ptx::SyncThreads();
                  },
                  256, {.copies_land_late = late}),
              "");
  }
}

TEST_F(SimtTest, RefusesWhatAGpuWouldNotForgive) {
  float* const data = memory_.data();
  auto* const out = reinterpret_cast<float*>(256);
  EXPECT_NE(ErrorOf([&] { ptx::Store(data + 1024, 1.0f); }), "");
  EXPECT_NE(ErrorOf([&] { ptx::Load(data - 1); }), "");
  EXPECT_NE(ErrorOf([&] { ptx::Load(out); }), "");
  EXPECT_NE(ErrorOf([&] { ptx::Load(reinterpret_cast<const ptx::Vector128*>(data + 1)); }), "");
  EXPECT_NE(ErrorOf([] { ptx::LoadShared(ptx::Shared() + 256); }), "");
  EXPECT_NE(ErrorOf([] { ptx::Load(ptx::Shared()); }), "");  // not device memory
  EXPECT_NE(ErrorOf([&] { ptx::CpAsync16(ptx::Shared() + 8, data); }), "");
  EXPECT_NE(ErrorOf([] {
              if (ptx::ThreadX() < 63) ptx::SyncThreads();
            }),
            "");
  EXPECT_NE(ErrorOf([] {
              if (ptx::ThreadX() % 2 == 0) ptx::SyncWarp();
            }),
            "");
  EXPECT_NE(ErrorOf([] {
              if (ptx::ThreadX() % 2 == 0) {
                ptx::SyncWarp();
              } else {
                ptx::ShuffleXor(1.0f, 1);
              }
            }),
            "");
  EXPECT_NE(ErrorOf([&] {
              ptx::CpAsync16(ptx::Shared(), data);
              ptx::CpAsyncCommit();
            }),
            "");
  EXPECT_EQ(ErrorOf([] { ptx::SyncThreads(); }), "");  // and goes on after all these
}

// A warp that reads what another has not written yet sees NaN under one schedule or the other.
TEST_F(SimtTest, SchedulesShowAMissingBarrier) {
  int n_nan = 0;
  for (const bool last_first : {false, true}) {
    Launch({1, 1, 64, 256}, {.last_warp_first = last_first}, [&] {
      auto* const shared = reinterpret_cast<float*>(ptx::Shared());
      ptx::StoreShared(shared + ptx::ThreadX(), 1.0f);
      n_nan += std::isnan(ptx::LoadShared(shared + (63 - ptx::ThreadX()))) ? 1 : 0;
    });
  }
  EXPECT_GT(n_nan, 0);
}

}  // namespace
}  // namespace kvfold::simt
