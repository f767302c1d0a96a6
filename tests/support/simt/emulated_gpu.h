// tests/support/simt/emulated_gpu.h: a device and an executor on which CudaKernels run without a
// GPU: every kernel through the emulator, products by plain loops, copies at once.
#pragma once

#include <memory>

#include "comm/device/cpu_device.h"
#include "runtime/kernels/cuda/executor.h"
#include "tests/support/simt/simt.h"

namespace kvfold::simt {

// Host memory that kernels may touch.
class EmulatedDevice : public Device {
 public:
  explicit EmulatedDevice(int n_threads) : host_(n_threads) {}
  std::string name() const override { return "emulated cuda"; }
  Buffer Allocate(int64_t bytes) override;
  Stream& stream() override { return host_.stream(); }
  int64_t allocated_bytes() const override { return host_.allocated_bytes(); }
  ThreadPool& pool() { return host_.pool(); }

 private:
  CpuDevice host_;
};

// n_multiprocessors: by which kernels choose their splits; few make few blocks fill it. `device`
// must outlive it. MeasureCeilings says 1 of everything.
std::unique_ptr<cuda::Executor> MakeEmulatedExecutor(EmulatedDevice& device, int n_multiprocessors,
                                                     Schedule schedule);

}  // namespace kvfold::simt
