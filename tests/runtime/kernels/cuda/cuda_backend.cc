// The implementations for GPUs: the kernels on a GPU where there is one, and their sources emulated
// everywhere, under schedules that differ in which warp runs first and when copies land.
#include <cstring>

#include "runtime/kernels/cuda/cuda_kernels.h"
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
  return all;
}

}  // namespace kvfold
