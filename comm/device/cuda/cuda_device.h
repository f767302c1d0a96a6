// comm/device/cuda/cuda_device.h: one GPU: its memory, its one stream, and the pinned host memory
// through which bytes reach it.
//
// All work of a rank goes to stream(): kernels, copies and collectives follow each other there
// without the host waiting. Only CudaStream::Synchronize and the copies to the host wait.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/device/device.h"
#include "comm/device/thread_pool.h"
#include "comm/device/upload_ring.h"

namespace kvfold {

struct CudaProperties {
  int ordinal = 0;   // of CUDA in this process (CUDA_VISIBLE_DEVICES renumbers)
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-6e2d...", as nvidia-smi prints it
  int major = 0;     // compute capability
  int minor = 0;
  int n_multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t l2_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a kernel can ask for (opt-in)
  int64_t shared_bytes_per_multiprocessor = 0;
  int threads_per_multiprocessor = 0;

  int capability() const { return 10 * major + minor; }
};

// An owned cudaStream_t that does not wait for the default stream.
class CudaStream : public Stream {
 public:
  CudaStream();
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  void Synchronize() override;
  std::unique_ptr<StreamClock> MakeClock(int64_t n_moments) override;
  cudaStream_t native() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Moments are events that the GPU stamps as it passes them, to half a microsecond.
class CudaClock : public StreamClock {
 public:
  CudaClock(cudaStream_t stream, int64_t n_moments);
  ~CudaClock() override;
  CudaClock(const CudaClock&) = delete;
  CudaClock& operator=(const CudaClock&) = delete;
  void Mark(int64_t moment) override;
  double Seconds(int64_t from, int64_t to) override;

 private:
  void Destroy() noexcept;

  cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;  // by moment
};

// The native stream of `stream`, which must be a CudaStream.
cudaStream_t NativeStream(Stream& stream);

// Page-locked host memory, which the GPU copies from and to without the host.
class PinnedMemory {
 public:
  // Throws CapacityError where the system refuses it.
  explicit PinnedMemory(int64_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {data_, static_cast<size_t>(bytes_)}; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_;
};

// Copies on a stream, each marked by an event.
class CudaCopyEngine : public CopyEngine {
 public:
  CudaCopyEngine(cudaStream_t stream, int max_copies);
  ~CudaCopyEngine() override;
  void Start(const std::byte* from, std::byte* to, int64_t bytes, int64_t ticket) override;
  bool Done(int64_t ticket) override;
  void Await(int64_t ticket) override;

 private:
  cudaEvent_t Event(int64_t ticket) const {
    return events_[static_cast<size_t>(ticket) % events_.size()];
  }
  cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;  // ticket t uses events_[t % size]
};

struct CudaDeviceOptions {
  int ordinal = 0;
  int n_threads = 1;  // of the host pool, which converts weights
  int64_t upload_ring_bytes = int64_t{64} << 20;
};

// Made once a process, by the thread that issues all its work; makes `ordinal` that thread's
// current device. Outlives its buffers.
class CudaDevice : public Device {
 public:
  // Throws DeviceError where the GPU cannot be used.
  explicit CudaDevice(const CudaDeviceOptions& options);
  ~CudaDevice() override;

  std::string name() const override { return "cuda"; }
  // cudaMalloc, zeroed; aligned to 256 bytes. Throws CapacityError with what the GPU has free.
  // Called at the start alone: nothing is allocated during a step.
  Buffer Allocate(int64_t bytes) override;
  CudaStream& stream() override { return stream_; }
  int64_t allocated_bytes() const override { return allocated_bytes_; }

  const CudaProperties& properties() const { return properties_; }
  ThreadPool& pool() { return pool_; }

  // Host memory to the GPU, in stream order. `from` is copied before this returns; the host waits
  // only where the ring is full of copies that the GPU has not reached yet.
  void Upload(const void* from, void* to, int64_t bytes) {
    ring_->Send(static_cast<const std::byte*>(from), static_cast<std::byte*>(to), bytes);
  }
  // For bytes that are made on the way: room in pinned memory, filled by the caller's threads.
  UploadRing& upload_ring() { return *ring_; }
  void CopyWithin(const void* from, void* to, int64_t bytes) override;
  // In stream order; returns when the host has the bytes.
  void CopyToHost(const void* from, void* to, int64_t bytes);
  void CopyRowsToHost(const void* from, int64_t from_stride, void* to, int64_t to_stride,
                      int64_t row_bytes, int64_t rows) override;

  // Bytes of this GPU that are in use, whoever uses them.
  int64_t used_bytes() const;
  // What is in use beside this device's buffers: the CUDA context, loaded kernels, cuBLASLt, NCCL,
  // and whatever other processes have on this GPU.
  int64_t measured_reserved_bytes() const { return used_bytes() - allocated_bytes_; }

 private:
  CudaProperties properties_;
  int64_t allocated_bytes_ = 0;
  ThreadPool pool_;
  CudaStream stream_;
  CudaCopyEngine engine_;
  PinnedMemory pinned_;
  std::unique_ptr<UploadRing> ring_;
};

// Of the GPU `ordinal`. Throws DeviceError.
CudaProperties ReadCudaProperties(int ordinal);

}  // namespace kvfold
