// runtime/kernels/cuda/cublaslt_product.h: y = x w^T (+ bias) by cuBLASLt.
//
// A row's bits must not depend on how many rows ride beside it, yet cuBLASLt's heuristic takes
// other kernels for other numbers of rows, and kernels that split the sum over n_in (split-K,
// stream-K) add in other orders. So algorithms are chosen once a shape, for a few classes of row
// counts, and kept: no split and no reduction scheme, and a class's algorithm is taken only if it
// gives, on random rows, the bits that the class of the most rows gives; where none of the
// candidates does, it is that class's own algorithm. Without a split an output is one sum over n_in
// in the order of the instruction's steps, whatever the tile: kernels of one kind of instruction
// agree.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "comm/device/cuda/cublaslt_library.h"
#include "comm/device/cuda/cuda_device.h"
#include "runtime/kernels/cuda/cuda_sizing.h"
#include "runtime/kernels/cuda/executor.h"

namespace kvfold::cuda {

class CublasLtProducts {
 public:
  // Takes kOwnBytes of the device, which must outlive it.
  explicit CublasLtProducts(CudaDevice& device);
  ~CublasLtProducts();
  CublasLtProducts(const CublasLtProducts&) = delete;
  CublasLtProducts& operator=(const CublasLtProducts&) = delete;

  // In stream order. Where cuBLASLt does not add the bias (it takes those of the type of y alone),
  // lay_bias is called, which is to write it to every row of y: the product is added to that. The
  // first call of a shape chooses its algorithms, which takes milliseconds and waits; all others
  // only launch.
  void Run(const ProductArgs& args, const std::function<void()>& lay_bias);

  static constexpr int64_t kWorkspaceBytes = CudaSizing::kProductWorkspaceBytes;
  static constexpr int64_t kTrialBytes = CudaSizing::kProductTrialBytes;
  static constexpr int64_t kOwnBytes = kWorkspaceBytes + kTrialBytes;

 private:
  struct Shape {  // all that an algorithm may depend on, but the rows
    int64_t n_out, n_in;
    int64_t x_stride, y_stride;
    DType dtype, y_dtype;
    bool bias;
    int x_alignment, y_alignment;
    auto operator<=>(const Shape&) const = default;
  };
  class Plan;

  CudaDevice& device_;
  const CublasLtLibrary& lt_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer own_;
  std::map<Shape, std::unique_ptr<Plan>> plans_;
};

}  // namespace kvfold::cuda
