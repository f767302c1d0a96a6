#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "comm/device/cpu_device.h"
#include "comm/device/tensor_view.h"
#include "comm/error.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

class CpuDeviceSizes : public testing::TestWithParam<int64_t> {};

TEST_P(CpuDeviceSizes, GivesZeroedAlignedCountedMemory) {
  const int64_t bytes = GetParam();
  CpuDevice device(1);
  {
    const Buffer buffer = device.Allocate(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(device.allocated_bytes(), bytes);
    const uintptr_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % alignment, 0u);
    std::byte* const data = buffer.data();
    EXPECT_TRUE(std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::fill(data, data + bytes, std::byte{0xff});  // all of it can be written
  }
  EXPECT_EQ(device.allocated_bytes(), 0);
  const Buffer again = device.Allocate(bytes);  // zeros again, whatever lay there
  EXPECT_EQ(std::count(again.data(), again.data() + bytes, std::byte{0}), bytes);
}

INSTANTIATE_TEST_SUITE_P(Edges, CpuDeviceSizes,
                         testing::Values(0, 1, 63, 64, 65, 4095, 4096, 4097, kHugePageBytes - 1,
                                         kHugePageBytes, kHugePageBytes + 1,
                                         3 * kHugePageBytes + 4097));

TEST(CpuDevice, RefusesWhatCannotBeMapped) {
  CpuDevice device(1);
  const Buffer held = device.Allocate(100);
  for (const int64_t bytes : {int64_t{-1}, INT64_MIN, INT64_MAX, int64_t{1} << 60}) {
    try {
      device.Allocate(bytes);
      ADD_FAILURE() << bytes << " bytes were allocated";
    } catch (const CapacityError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::to_string(bytes)));
      EXPECT_EQ(error.code(), ErrorCode::kDoesNotFit);
    }
  }
  EXPECT_EQ(device.allocated_bytes(), 100);
}

TEST(CpuDevice, CountsAllLiveBuffers) {
  CpuDevice device(1);
  std::vector<Buffer> buffers;
  for (int64_t bytes = 1; bytes <= 1000; bytes *= 10) buffers.push_back(device.Allocate(bytes));
  EXPECT_EQ(device.allocated_bytes(), 1111);
  buffers.erase(buffers.begin() + 1);
  EXPECT_EQ(device.allocated_bytes(), 1101);
  buffers.clear();
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(CpuDevice, HasItsThreads) {
  CpuDevice device(3);
  EXPECT_EQ(device.pool().size(), 3);
  EXPECT_EQ(device.name(), "cpu");
  device.stream().Synchronize();
}

TEST(CpuDevice, ItsStreamsClockIsTheHosts) {
  CpuDevice device(1);
  const std::unique_ptr<StreamClock> clock = device.stream().MakeClock(3);
  const auto start = std::chrono::steady_clock::now();
  clock->Mark(2);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  clock->Mark(0);
  const double wall_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(clock->Seconds(2, 0), 0.020);
  EXPECT_LE(clock->Seconds(2, 0), wall_s);
  clock->Mark(2);
  EXPECT_GE(clock->Seconds(0, 2), 0.0);
  EXPECT_THROW(clock->Mark(3), std::out_of_range);
}

TEST(Buffer, MovesItsOneOwnership) {
  int n_freed = 0;
  int64_t freed_bytes = 0;
  const auto deleter = [&](void*, int64_t bytes) {
    ++n_freed;
    freed_bytes = bytes;
  };
  int place = 0;
  int other_place = 0;
  {
    Buffer first(&place, 4, deleter);
    Buffer second(std::move(first));
    EXPECT_EQ(first.data(), nullptr);  // NOLINT: a moved-from buffer is empty
    EXPECT_EQ(first.bytes(), 0);
    EXPECT_EQ(second.data(), reinterpret_cast<std::byte*>(&place));
    Buffer third(&other_place, 3, deleter);
    third = std::move(second);  // frees what it held
    EXPECT_EQ(n_freed, 1);
    EXPECT_EQ(freed_bytes, 3);
    Buffer& same = third;
    third = std::move(same);
    EXPECT_EQ(third.bytes(), 4);
    EXPECT_EQ(n_freed, 1);
  }
  EXPECT_EQ(n_freed, 2);
  EXPECT_EQ(freed_bytes, 4);
}

TEST(TensorView, CutsRowsAndColumns) {
  std::vector<float> data(12);
  for (int i = 0; i < 12; ++i) data[i] = static_cast<float>(i);
  const TensorView view = F32View(data.data(), 3, 4);
  EXPECT_TRUE(view.contiguous());
  EXPECT_EQ(view.elements(), 12);
  const ConstTensorView right = view.Rows(1, 3).Cols(2, 4);
  EXPECT_EQ(right.rows, 2);
  EXPECT_EQ(right.cols, 2);
  EXPECT_FALSE(right.contiguous());
  EXPECT_EQ(*reinterpret_cast<const float*>(right.Row(1)), 10.0f);
  EXPECT_TRUE(view.Rows(1, 2).Cols(1, 2).contiguous());  // one row has no gaps
  EXPECT_THROW(view.Rows(2, 4), std::logic_error);
  EXPECT_THROW(view.Cols(-1, 2), std::logic_error);
}

}  // namespace
}  // namespace kvfold
