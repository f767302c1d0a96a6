// runtime/kernels/cpu/cpu_linear.h: products on packed weights, over the threads of a rank. A
// weight is packed in slices of kSliceCols output columns, each a product of its own for one
// thread.
#pragma once

#include <memory>

#include "comm/device/thread_pool.h"
#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cpu {

class LinearEngine {
 public:
  virtual ~LinearEngine() = default;
  virtual int64_t PackedBytes(LinearShape shape) = 0;
  virtual std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                             const WeightRows& rows) = 0;
  virtual void Run(ConstTensorView x, const PackedLinear& weight, const float* bias,
                   TensorView y) = 0;
};

// oneDNN on slices. Used with AVX-512: there its product gives a row the same bits whatever the
// number of rows.
std::unique_ptr<LinearEngine> MakeOneDnnLinear(ThreadPool& pool, const KernelTable& table,
                                               DType dtype);
// Our own f32 panels. Used without AVX-512: oneDNN's AVX2 product gives a row other bits when
// others ride beside it.
std::unique_ptr<LinearEngine> MakePanelLinear(ThreadPool& pool, const KernelTable& table);

}  // namespace kvfold::cpu
