// comm/device/cpu_device.h: host memory and the threads that compute on it.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

#include "comm/device/device.h"
#include "comm/device/thread_pool.h"

namespace kvfold {

// Outlives the buffers that it allocated. Allocate and the death of buffers may come from any
// thread.
class CpuDevice : public Device {
 public:
  // n_threads >= 1: workers of the pool, the calling thread among them; spin_budget as
  // ThreadPool's.
  explicit CpuDevice(int n_threads,
                     std::optional<std::chrono::microseconds> spin_budget = std::nullopt);

  std::string name() const override { return "cpu"; }
  // Anonymous memory of its own mapping, aligned to 2 MiB where it is at least that large (huge
  // pages are asked for), else to a page. Pages become resident when first written.
  Buffer Allocate(int64_t bytes) override;
  Stream& stream() override { return stream_; }
  int64_t allocated_bytes() const override { return allocated_bytes_.load(); }
  ThreadPool& pool() { return pool_; }

 private:
  struct CpuStream : Stream {
    void Synchronize() override {}
  };
  std::atomic<int64_t> allocated_bytes_{0};
  CpuStream stream_;
  ThreadPool pool_;
};

}  // namespace kvfold
