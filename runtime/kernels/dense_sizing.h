// runtime/kernels/dense_sizing.h: the sizes of a device that is not at hand, for planning: weights
// as plain rows, keys and values in products of bf16 pairs where they are narrow.
#pragma once

#include "runtime/kernels/kernels.h"

namespace kvfold {

class DenseSizing : public KernelSizing {
 public:
  explicit DenseSizing(DType activation_dtype) : dtype_(activation_dtype) {}
  DType activation_dtype() const override { return dtype_; }
  int64_t kv_interleave(DType kv_dtype) const override {
    return dtype_ == DType::kBF16 && kv_dtype != DType::kF32 ? 2 : 1;
  }
  // Partial sums of up to 64 splits of a decoding sequence's keys: f32 [head_dim] and two numbers a
  // query head.
  int64_t ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const override {
    constexpr int64_t kSplits = 64;
    return max_sequences * kSplits * heads.n_heads * (heads.head_dim + 2) * DTypeBytes(DType::kF32);
  }
  int64_t PackedBytes(LinearShape shape) const override {
    return shape.n_out * shape.n_in * DTypeBytes(dtype_);
  }

 private:
  DType dtype_;
};

}  // namespace kvfold
