// The implementations for GPUs: the kernels on a GPU where there is one, and their sources emulated
// everywhere, under schedules that differ in which warp runs first and when copies land.
#include <cstring>

#include "comm/cuda/cuda_backend.h"
#include "runtime/kernels/cuda/cuda_kernels.h"
#include "runtime/kernels/cuda/gpu_kernels.h"
#include "tests/runtime/kernels/backend.h"
#include "tests/support/simt/emulated_gpu.h"

namespace kvfold {
namespace {

DType ProductsOf(const Kernels& kernels, DType kv_dtype) {
  return kernels.activation_dtype() == DType::kBF16 && kv_dtype != DType::kF32 ? DType::kBF16
                                                                               : DType::kF32;
}

class EmulatedBackend : public Backend {
 public:
  EmulatedBackend(DType activation_dtype, simt::Schedule schedule)
      : device_(2),
        kernels_(MakeCudaKernels(device_, simt::MakeEmulatedExecutor(device_, 4, schedule),
                                 activation_dtype)) {}
  Device& device() override { return device_; }
  Kernels& kernels() override { return *kernels_; }
  void Upload(void* to, const void* from, int64_t bytes) override { Copy(to, from, bytes); }
  void Download(void* to, const void* from, int64_t bytes) override { Copy(to, from, bytes); }
  DType AttentionProducts(DType kv_dtype) const override { return ProductsOf(*kernels_, kv_dtype); }

 private:
  static void Copy(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  simt::EmulatedDevice device_;
  std::unique_ptr<Kernels> kernels_;
};

// The GPU that all tests share: one a process.
Device& Gpu() {
  static const std::unique_ptr<Device> gpu = MakeCudaDevice(0, 2);
  return *gpu;
}

class GpuBackend : public Backend {
 public:
  explicit GpuBackend(DType activation_dtype)
      : device_(Gpu()), kernels_(MakeGpuKernels(device_, activation_dtype)) {}
  Device& device() override { return device_; }
  Kernels& kernels() override { return *kernels_; }
  void Upload(void* to, const void* from, int64_t bytes) override {
    if (bytes == 0) return;
    // Any bytes, as whole rows of f32 and single ones: through memory of the same size.
    const std::vector<float> words = [&] {
      std::vector<float> copy(static_cast<size_t>((bytes + 3) / 4));
      std::memcpy(copy.data(), from, static_cast<size_t>(bytes));
      return copy;
    }();
    const Buffer staging = device_.Allocate(static_cast<int64_t>(words.size()) * 4);
    const auto n = static_cast<int64_t>(words.size());
    kernels_->CopyFromHost(F32View(words.data(), 1, n),
                           F32View(reinterpret_cast<float*>(staging.data()), 1, n));
    device_.CopyWithin(staging.data(), to, bytes);
    device_.stream().Synchronize();
  }
  void Download(void* to, const void* from, int64_t bytes) override {
    device_.CopyRowsToHost(from, bytes, to, bytes, bytes, 1);
  }
  DType AttentionProducts(DType kv_dtype) const override { return ProductsOf(*kernels_, kv_dtype); }

 private:
  Device& device_;
  std::unique_ptr<Kernels> kernels_;
};

TEST(GpuTest, TakesPart) {
  const CudaProbe probe = ProbeCuda();
  if (probe.gpus.empty()) GTEST_SKIP() << "the kernels run emulated alone: " << probe.problem;
  EXPECT_GE(probe.gpus[0].n_multiprocessors, 1);
}

}  // namespace

// A test asks for other numbers of threads to see that results do not depend on them: here it gets
// other schedules.
std::vector<Implementation> Implementations() {
  std::vector<Implementation> all;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    all.push_back({std::string("cuda_emulated_") + std::string(DTypeName(dtype)), [dtype](int n) {
                     return std::make_unique<EmulatedBackend>(
                         dtype,
                         simt::Schedule{.last_warp_first = n % 2 == 1, .copies_land_late = n != 3});
                   }});
  }
  if (ProbeCuda().gpus.empty()) return all;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    all.push_back({std::string("gpu_") + std::string(DTypeName(dtype)),
                   [dtype](int) { return std::make_unique<GpuBackend>(dtype); }});
  }
  return all;
}

}  // namespace kvfold
