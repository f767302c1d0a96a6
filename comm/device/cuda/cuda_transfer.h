// comm/device/cuda/cuda_transfer.h: between a GPU's memory and page-locked host memory.
#pragma once

#include "comm/device/cuda/cuda_device.h"
#include "comm/device/device_transfer.h"

namespace kvfold {

class CudaTransfer : public DeviceTransfer {
 public:
  explicit CudaTransfer(int64_t staging_bytes);
  ~CudaTransfer() override;

  std::span<std::byte> staging() override { return pinned_.span(); }
  void StartToHost(const void* from, std::byte* to, int64_t bytes, Stream& stream) override;
  void AwaitToHost() override;
  void ToDevice(const std::byte* from, void* to, int64_t bytes, Stream& stream) override;
  void Within(const void* from, void* to, int64_t bytes, Stream& stream) override;

 private:
  PinnedMemory pinned_;
  cudaEvent_t arrived_ = nullptr;
};

}  // namespace kvfold
