// runtime/kernels/cuda/dispatch.h: run-time choices as template arguments, one closed table each:
// what a GPU's launches and the emulator's are instantiated from; std::logic_error for what is not
// in it. No CUDA here, and no fmt, which nvcc cannot read.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "comm/device/dtype.h"
#include "runtime/kernels/cuda/attention_args.h"

namespace kvfold::cuda {

// Calls use.template operator()<float or uint16_t>().
template <typename Use>
void WithElement(DType dtype, Use&& use) {
  if (dtype == DType::kF32) return use.template operator()<float>();
  if (dtype != DType::kBF16) throw std::logic_error("no CUDA kernel for this element type");
  use.template operator()<uint16_t>();
}

// Calls use.template operator()<1 or 8>().
template <typename Use>
void WithCount(bool wide, Use&& use) {
  if (wide) return use.template operator()<8>();
  use.template operator()<1>();
}

// Calls use.template operator()<DType>().
template <typename Use>
void WithCacheType(DType dtype, Use&& use) {
  switch (dtype) {
    case DType::kF32:
      return use.template operator()<DType::kF32>();
    case DType::kBF16:
      return use.template operator()<DType::kBF16>();
    case DType::kI8:
      return use.template operator()<DType::kI8>();
  }
  throw std::logic_error("no CUDA kernel for this cache");
}

// Calls use.template operator()<head_dim>() for the head dims of HasMatrixKernel.
template <typename Use>
void WithHeadDim(int head_dim, Use&& use) {
  switch (head_dim) {
    case 64:
      return use.template operator()<64>();
    case 96:
      return use.template operator()<96>();
    case 128:
      return use.template operator()<128>();
    case 256:
      return use.template operator()<256>();
    default:
      throw std::logic_error("no CUDA kernel with matrix units for this head_dim");
  }
}

// Calls use.template operator()<few rows, int8 cache, key bias, capped scores>(). Scores over keys
// with a bias are not capped.
template <typename Use>
void WithMatrixKind(bool few_rows, const AttentionArgs& args, Use&& use) {
  const auto with_cap = [&]<bool kFewRows, bool kInt8>() {
    if (args.score_cap > 0.0f) return use.template operator()<kFewRows, kInt8, false, true>();
    if constexpr (kInt8) {
      if (args.slot_rope != nullptr) return use.template operator()<kFewRows, true, true, false>();
    }
    use.template operator()<kFewRows, kInt8, false, false>();
  };
  const bool int8 = args.kv_dtype == DType::kI8;
  if (few_rows && int8) return with_cap.template operator()<true, true>();
  if (few_rows) return with_cap.template operator()<true, false>();
  if (int8) return with_cap.template operator()<false, true>();
  with_cap.template operator()<false, false>();
}

}  // namespace kvfold::cuda
