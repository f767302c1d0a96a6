// What must hold of the CUDA side's face on any machine: without a driver, without a GPU, with one,
// and in a build without CUDA.
#include "comm/cuda/cuda_backend.h"

#include <gtest/gtest.h>

#include "comm/error.h"

namespace kvfold {
namespace {

TEST(CudaBackend, NamesWhatIsMissing) {
  const CudaProbe probe = ProbeCuda();
  EXPECT_EQ(probe.gpus.empty(), !probe.problem.empty()) << probe.problem;
  EXPECT_EQ(probe.built, !probe.toolkit.empty());
  if (!probe.built) {
    EXPECT_EQ(probe.problem, "this build of kvfold has no CUDA");
  }
  for (const CudaGpu& gpu : probe.gpus) {
    EXPECT_GE(gpu.major, 8);
    EXPECT_GT(gpu.memory_bytes, 0);
    EXPECT_EQ(gpu.uuid.size(), 40u) << gpu.uuid;
    EXPECT_EQ(gpu.uuid.substr(0, 4), "GPU-");
  }
}

TEST(CudaBackend, ADeviceThatIsNotThereIsAnError) {
  const CudaProbe probe = ProbeCuda();
  EXPECT_THROW(MakeCudaDevice(static_cast<int>(probe.gpus.size()) + 1000, 1), DeviceError);
}

TEST(CudaBackend, LibrariesAreThereOrNamed) {
  for (const CudaLibraryInfo& library : {FindNccl(), FindCublasLt()}) {
    EXPECT_EQ(library.version.empty(), !library.problem.empty());
    EXPECT_EQ(library.version.empty(), library.number == 0);
  }
}

TEST(CudaBackend, GpuMemoryIsZeroedCountedAndTravels) {
  const CudaProbe probe = ProbeCuda();
  if (probe.gpus.empty()) GTEST_SKIP() << probe.problem;
  const auto device = MakeCudaDevice(probe.gpus.front().ordinal, 1);
  EXPECT_EQ(device->allocated_bytes(), 0);
  {
    const Buffer buffer = device->Allocate(1000);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 256, 0u);
    EXPECT_EQ(device->allocated_bytes(), 1000);
    EXPECT_GT(CudaUsedBytes(*device), 1000);
  }
  EXPECT_EQ(device->allocated_bytes(), 0);
  EXPECT_EQ(device->Allocate(0).data(), nullptr);
  EXPECT_THROW(device->Allocate(int64_t{1} << 50), CapacityError);
  EXPECT_EQ(device->allocated_bytes(), 0) << "a refusal counts nothing";
  const Buffer after = device->Allocate(64);
  EXPECT_NE(after.data(), nullptr) << "a refusal breaks nothing";
}

}  // namespace
}  // namespace kvfold
