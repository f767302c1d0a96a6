#include "comm/local/pretend_group.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "comm/error.h"

namespace kvfold {
namespace {

struct NoStream : Stream {
  void Synchronize() override {}
};

TEST(PretendGroup, LeavesDeviceViewsAndRepeatsBytes) {
  const auto group = MakePretendCommunicator(3);
  EXPECT_EQ(group->rank(), 0);
  EXPECT_EQ(group->size(), 3);
  NoStream stream;
  std::vector<float> values = {1.0f, -2.0f};
  group->AllReduceSum(F32View(values.data(), 1, 2), stream);
  EXPECT_EQ(values, (std::vector<float>{1.0f, -2.0f}));
  std::vector<float> gathered(6, 7.0f);
  group->AllGather(F32View(values.data(), 1, 2), F32View(gathered.data(), 3, 2), stream);
  EXPECT_EQ(gathered, std::vector<float>(6, 7.0f));

  const std::array<int32_t, 1> mine = {42};
  std::array<int32_t, 3> all = {};
  group->AllGatherBytes(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  EXPECT_EQ(all, (std::array<int32_t, 3>{42, 42, 42}));
  group->Barrier();
  group->Close();
}

TEST(PretendGroup, RefusesWhatARealGroupWould) {
  const auto group = MakePretendCommunicator(2);
  NoStream stream;
  std::vector<float> values(4);
  EXPECT_THROW(group->AllGather(F32View(values.data(), 1, 2), F32View(values.data(), 1, 2), stream),
               ShapeError);
  std::array<int32_t, 1> one = {};
  EXPECT_THROW(
      group->AllGatherBytes(std::as_bytes(std::span(one)), std::as_writable_bytes(std::span(one))),
      ShapeError);
  EXPECT_THROW(group->BroadcastBytes(std::as_writable_bytes(std::span(one)), 2), ShapeError);
  EXPECT_THROW(MakePretendCommunicator(0), std::logic_error);
}

}  // namespace
}  // namespace kvfold
