// runtime/kernels/cuda/dense_linear.h: a weight as cuBLASLt multiplies by it: rows as they are, in
// f32 or bf16.
#pragma once

#include <cstddef>
#include <memory>

#include "comm/device/dtype.h"
#include "runtime/kernels/cuda/executor.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

class DenseLinear : public PackedLinear {
 public:
  DenseLinear(LinearShape shape, const std::byte* memory) : shape_(shape), memory_(memory) {}
  LinearShape shape() const override { return shape_; }
  const std::byte* memory() const { return memory_; }

 private:
  LinearShape shape_;
  const std::byte* memory_;
};

// Kernels::Pack: converts on the executor's threads while what is converted travels.
std::unique_ptr<PackedLinear> PackDense(Executor& executor, DType dtype, LinearShape shape,
                                        std::byte* memory, const WeightRows& rows);

}  // namespace kvfold::cuda
