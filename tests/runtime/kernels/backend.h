// tests/runtime/kernels/backend.h: the implementations of Kernels that the conformance suite runs
// over, and matrices in their memory. A further implementation joins by a Backend of its own and an
// Implementations(), which is one a test program (cpu_backend.cc, cuda/cuda_backend.cc); no test
// names one.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "runtime/kernels/kernels.h"

namespace kvfold {

// One implementation with the device that it computes on. Copies wait until they are done.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Device& device() = 0;
  virtual Kernels& kernels() = 0;
  virtual void Upload(void* device_to, const void* host_from, int64_t bytes) = 0;
  virtual void Download(void* host_to, const void* device_from, int64_t bytes) = 0;
  // To what Attention rounds the factors of its products: kF32 or kBF16.
  virtual DType AttentionProducts(DType kv_dtype) const = 0;
};

struct Implementation {
  std::string name;                                             // letters, digits and underscores
  std::function<std::unique_ptr<Backend>(int n_threads)> make;  // n_threads: where it has any
};
std::vector<Implementation> Implementations();
inline void PrintTo(const Implementation& implementation, std::ostream* out) {
  *out << implementation.name;
}

// Every test of the suite is one of these, run once for each implementation.
class KernelsTest : public testing::TestWithParam<Implementation> {
 protected:
  Backend& backend() { return *backend_; }
  Kernels& kernels() { return backend_->kernels(); }
  void UseThreads(int n_threads) { backend_ = GetParam().make(n_threads); }

 private:
  std::unique_ptr<Backend> backend_ = GetParam().make(2);
};
#define KVFOLD_FOR_ALL_IMPLEMENTATIONS(Suite)                                \
  INSTANTIATE_TEST_SUITE_P(All, Suite, testing::ValuesIn(Implementations()), \
                           [](const auto& tested) { return tested.param.name; })

// A matrix on the device between guards, all of it NaN until written: what a kernel reads where it
// must not shows in its results, what it writes where it must not in OnlyWrote.
class Matrix {
 public:
  // Room for `rows` rounded up to kRowPadding. stride 0: cols.
  Matrix(Backend& backend, DType dtype, int64_t rows, int64_t cols, int64_t stride = 0);

  TensorView view() const;
  float* f32() const;  // element (0, 0) of an f32 matrix
  // Row by row, dense; rounded to dtype.
  void Set(std::span<const float> values);
  std::vector<float> Get() const;
  // Every byte outside of columns [0, cols) of rows [0, rows) is as it was made.
  testing::AssertionResult OnlyWrote(int64_t rows) const;

 private:
  Backend& backend_;
  DType dtype_;
  int64_t rows_, cols_, stride_;
  Buffer buffer_;
};

// Bytes on the device between guards, all 0xff until written.
class GuardedBytes {
 public:
  GuardedBytes(Backend& backend, int64_t bytes);
  std::byte* data() const { return buffer_.data() + kGuardBytes; }
  std::span<std::byte> span() const { return {data(), static_cast<size_t>(bytes_)}; }
  testing::AssertionResult GuardsIntact() const;

  static constexpr int64_t kGuardBytes = 256;

 private:
  Backend& backend_;
  int64_t bytes_;
  Buffer buffer_;
};

}  // namespace kvfold
