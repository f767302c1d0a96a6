#include "comm/device/cuda/cuda_transfer.h"

#include <spdlog/spdlog.h>

#include "comm/device/cuda/cuda_check.h"

namespace kvfold {

CudaTransfer::CudaTransfer(int64_t staging_bytes) : pinned_(staging_bytes) {
  CudaCheck(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming), "making a CUDA event");
}

CudaTransfer::~CudaTransfer() {
  const cudaError_t code = cudaEventDestroy(arrived_);
  if (code != cudaSuccess && code != cudaErrorCudartUnloading) {
    spdlog::error("cudaEventDestroy failed: {}", CudaErrorText(code));
  }
}

void CudaTransfer::StartToHost(const void* from, std::byte* to, int64_t bytes, Stream& stream) {
  const cudaStream_t native = NativeStream(stream);
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, native),
            "copying from the GPU");
  CudaCheck(cudaEventRecord(arrived_, native), "marking a copy from the GPU");
}

void CudaTransfer::AwaitToHost() {
  CudaCheck(cudaEventSynchronize(arrived_), "copying from the GPU");
}

void CudaTransfer::ToDevice(const std::byte* from, void* to, int64_t bytes, Stream& stream) {
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                            NativeStream(stream)),
            "copying to the GPU");
}

void CudaTransfer::Within(const void* from, void* to, int64_t bytes, Stream& stream) {
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                            NativeStream(stream)),
            "copying within the GPU");
}

}  // namespace kvfold
