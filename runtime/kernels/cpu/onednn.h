// runtime/kernels/cpu/onednn.h: oneDNN's matrix product on packed weights, one thread a call. The
// one file pair that knows which version of oneDNN this is (2 in Debian 12, 3 in Debian 13).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "comm/device/dtype.h"
#include "runtime/kernels/cpu/isa.h"

namespace kvfold::onednn {

// The instruction set that oneDNN will use at most (its own environment variable caps it).
CpuIsa BestIsa();
std::string Version();

// y[m, n_out] f32 = x[m, n_in] w^T, x and w of `dtype` (kF32 or kBF16). y is dense: with a stride
// of its own oneDNN 2 falls back to its reference code, a thousand times slower.
struct MatmulShape {
  int64_t n_out = 0;
  int64_t n_in = 0;
  int64_t m = 0;
  int64_t x_stride = 0;
  auto operator<=>(const MatmulShape&) const = default;
};

// One product, ready to run: `worker` may run it at the same time as other workers do. No
// allocation.
class Matmul {
 public:
  virtual ~Matmul() = default;
  virtual void Run(int worker, const void* x, const std::byte* packed, float* y) = 0;
};

// Packs weights and keeps the products that were made. Get is called from one thread at a time;
// products are made on first use.
class MatmulCache {
 public:
  MatmulCache(DType dtype, int n_workers);
  ~MatmulCache();
  int64_t PackedBytes(int64_t n_out, int64_t n_in);
  // plain: [n_out, n_in] of dtype, dense. packed: PackedBytes(n_out, n_in) bytes. May be called
  // from several threads at once.
  void Pack(int64_t n_out, int64_t n_in, const void* plain, std::byte* packed);
  Matmul& Get(const MatmulShape& shape);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvfold::onednn
