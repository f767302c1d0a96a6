// What must hold of the CUDA side's face on any machine: without a driver, without a GPU, with one,
// and in a build without CUDA.
#include "comm/cuda/cuda_backend.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>

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

TEST(CudaBackend, GpuClockTellsWhenTheGpuWorked) {
  const CudaProbe probe = ProbeCuda();
  if (probe.gpus.empty()) GTEST_SKIP() << probe.problem;
  const auto device = MakeCudaDevice(probe.gpus.front().ordinal, 1);
  constexpr int64_t kBytes = int64_t{256} << 20;
  const Buffer from = device->Allocate(kBytes);
  const Buffer to = device->Allocate(kBytes);
  const std::unique_ptr<StreamClock> clock = device->stream().MakeClock(3);
  device->stream().Synchronize();
  const auto start = std::chrono::steady_clock::now();
  clock->Mark(0);
  device->CopyWithin(from.data(), to.data(), kBytes);
  clock->Mark(1);
  clock->Mark(2);
  const double copy_s = clock->Seconds(0, 1);  // waits
  const double wall_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GT(copy_s, static_cast<double>(kBytes) / 20e12) << "faster than any GPU's memory";
  EXPECT_LE(copy_s, wall_s + 1e-6);
  EXPECT_LT(clock->Seconds(1, 2), copy_s) << "nothing lies between";
  EXPECT_THROW(clock->Mark(3), std::out_of_range);
}

}  // namespace
}  // namespace kvfold
