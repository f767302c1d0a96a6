#include "launcher/device_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/error.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

CudaGpu Gpu(int ordinal, const std::string& uuid) {
  return {.ordinal = ordinal, .name = "NVIDIA H100", .uuid = uuid, .major = 9};
}

CudaProbe With(int n_gpus) {
  CudaProbe probe{.built = true, .toolkit = "13.0"};
  for (int i = 0; i < n_gpus; ++i) probe.gpus.push_back(Gpu(i, fmt::format("GPU-{}", i)));
  if (n_gpus == 0) probe.problem = "no NVIDIA driver is here";
  return probe;
}

template <typename Call>
std::string WhatOf(Call&& call) {
  try {
    call();
  } catch (const InputError& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
  return "no error";
}

TEST(DeviceKind, AutoTakesGpusWhereThereAreAny) {
  EXPECT_EQ(ChooseDeviceKind({}, With(0)), DeviceKind::kCpu);
  EXPECT_EQ(ChooseDeviceKind({}, With(1)), DeviceKind::kCuda);
  EXPECT_EQ(ChooseDeviceKind(DeviceKind::kCpu, With(2)), DeviceKind::kCpu);
  EXPECT_EQ(ChooseDeviceKind(DeviceKind::kCuda, With(2)), DeviceKind::kCuda);
}

TEST(DeviceKind, SaysWhyThereIsNoGpu) {
  EXPECT_EQ(WhatOf([] { ChooseDeviceKind(DeviceKind::kCuda, With(0)); }),
            "--device cuda: no NVIDIA driver is here; --device cpu needs none");
}

TEST(GpuOfRank, DealsRound) {
  const CudaProbe four = With(4);
  for (int rank = 0; rank < 9; ++rank) {
    EXPECT_EQ(ChooseGpu(four.gpus, rank).ordinal, rank % 4) << rank;
  }
  EXPECT_EQ(ChooseGpu(With(1).gpus, 7).ordinal, 0) << "a launcher showed this rank one GPU";
  EXPECT_THROW(ChooseGpu({}, 0), std::logic_error);
}

std::vector<RankPlace> Places(const std::vector<std::string>& uuids) {
  std::vector<RankPlace> places;
  for (const std::string& uuid : uuids) places.push_back(MakeRankPlace("node7", Gpu(0, uuid)));
  return places;
}

TEST(Sharing, IsToldByUuid) {
  // All ordinals are 0: every rank sees one GPU.
  EXPECT_EQ(RanksPerGpu(Places({"GPU-a", "GPU-b", "GPU-c"}), false), 1);
  EXPECT_EQ(RanksPerGpu(Places({"GPU-a"}), false), 1);
  EXPECT_EQ(RanksPerGpu(Places({"GPU-a", "GPU-b", "GPU-a"}), true), 2);
  EXPECT_EQ(RanksPerGpu(Places({"GPU-a", "GPU-a", "GPU-a"}), true), 3);
}

TEST(Sharing, IsRefusedByName) {
  EXPECT_THAT(WhatOf([] {
                RanksPerGpu(Places({"GPU-a", "GPU-b", "GPU-c", "GPU-b"}), false);
              }),
              AllOf(HasSubstr("ranks 1 and 3"), HasSubstr("GPU-b"), HasSubstr("NVIDIA H100"),
                    HasSubstr("node7"), HasSubstr("--share-devices")));
}

TEST(Sharing, LongNamesAreCutNotOverrun) {
  const RankPlace place = MakeRankPlace(std::string(500, 'h'), Gpu(0, std::string(500, 'u')));
  EXPECT_EQ(std::string(place.host), std::string(63, 'h'));
  EXPECT_EQ(std::string(place.gpu_uuid), std::string(47, 'u'));
}

CudaLibraryInfo Nccl(int number) {
  return {.number = number, .version = "2.x", .path = "libnccl.so.2"};
}
const CudaLibraryInfo kNone{.problem = "NCCL cannot be opened"};

TEST(ChooseTransport, AutoTakesWhatFits) {
  EXPECT_EQ(ChooseTransport({}, 1, false, kNone), Transport::kLocal);
  EXPECT_EQ(ChooseTransport({}, 2, false, Nccl(22809)), Transport::kNccl);
  EXPECT_EQ(ChooseTransport({}, 2, true, Nccl(22999)), Transport::kStaged);
  EXPECT_EQ(ChooseTransport({}, 2, true, Nccl(23000)), Transport::kNccl);
  EXPECT_EQ(ChooseTransport({}, 2, true, kNone), Transport::kStaged);
}

TEST(ChooseTransport, OneRankGoesThroughNcclWhenAsked) {
  EXPECT_EQ(ChooseTransport(Transport::kNccl, 1, false, Nccl(22809)), Transport::kNccl);
  EXPECT_EQ(ChooseTransport(Transport::kStaged, 1, false, kNone), Transport::kStaged);
}

TEST(ChooseTransport, RefusesWhatCannotBe) {
  EXPECT_EQ(WhatOf([] { ChooseTransport(Transport::kNccl, 2, false, kNone); }),
            "--transport nccl: NCCL cannot be opened");
  EXPECT_THAT(WhatOf([] { ChooseTransport(Transport::kNccl, 2, true, Nccl(22809)); }),
              AllOf(HasSubstr("2.x"), HasSubstr("2.30 or later")));
  // No silent step down to what is slow.
  EXPECT_THAT(WhatOf([] { ChooseTransport({}, 2, false, kNone); }),
              HasSubstr("--transport staged"));
}

}  // namespace
}  // namespace kvfold
