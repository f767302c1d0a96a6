// runtime/kernels/cpu/cpu_linear.h: products on packed weights, over the threads of a rank. A
// weight is packed in slices of output columns, each a product of its own for one thread.
#pragma once

#include <memory>

#include "comm/device/thread_pool.h"
#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cpu {

class Linear {
 public:
  virtual ~Linear() = default;
  virtual int64_t PackedBytes(LinearShape shape) = 0;
  virtual std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                             const WeightRows& rows) = 0;
  virtual void Run(ConstTensorView x, const PackedLinear& weight, const float* bias,
                   TensorView y) = 0;
};

// oneDNN on slices, bf16. Used where the processor has matrix tiles, for which we have no product.
std::unique_ptr<Linear> MakeOneDnnLinear(ThreadPool& pool, const KernelTable& table);
// Our own panels, f32 or bf16: outputs written in place, the next panel fetched meanwhile, a row's
// bits the same whatever rides beside it (oneDNN's AVX2 product gives it others).
std::unique_ptr<Linear> MakePanelLinear(ThreadPool& pool, const KernelTable& table, DType dtype);

}  // namespace kvfold::cpu
