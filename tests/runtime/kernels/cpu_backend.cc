// The implementations for processors.
#include <fmt/format.h>

#include <cstring>

#include "comm/device/cpu_device.h"
#include "runtime/kernels/cpu/cpu_kernels.h"
#include "tests/runtime/kernels/backend.h"

namespace kvfold {
namespace {

class CpuBackend : public Backend {
 public:
  CpuBackend(CpuIsa isa, DType activation_dtype, int n_threads)
      : device_(n_threads), kernels_(MakeCpuKernels(device_, activation_dtype, isa)) {}
  Device& device() override { return device_; }
  Kernels& kernels() override { return *kernels_; }
  void Upload(void* to, const void* from, int64_t bytes) override { Copy(to, from, bytes); }
  void Download(void* to, const void* from, int64_t bytes) override { Copy(to, from, bytes); }
  DType AttentionProducts(DType kv_dtype) const override {
    return kernels_->kv_interleave(kv_dtype) == 2 ? DType::kBF16 : DType::kF32;
  }

 private:
  static void Copy(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  CpuDevice device_;
  std::unique_ptr<Kernels> kernels_;
};

}  // namespace

std::vector<Implementation> Implementations() {
  std::vector<Implementation> all;
  std::vector<CpuIsa> isas = AvailableCpuIsas();
  // Our kernels for processors with tiles need none themselves, and oneDNN's products choose by the
  // processor: what stands around them is tested here too.
  if (isas.back() == CpuIsa::kAvx512Bf16) isas.push_back(CpuIsa::kAmxBf16);
  for (const CpuIsa isa : isas) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      if (dtype == DType::kBF16 && isa < CpuIsa::kAvx512Bf16) continue;
      all.push_back({fmt::format("cpu_{}_{}", CpuIsaName(isa), DTypeName(dtype)),
                     [isa, dtype](int n_threads) {
                       return std::make_unique<CpuBackend>(isa, dtype, n_threads);
                     }});
    }
  }
  return all;
}

}  // namespace kvfold
