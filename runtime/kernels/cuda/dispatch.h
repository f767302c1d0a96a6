// runtime/kernels/cuda/dispatch.h: run-time choices as template arguments, one closed table each:
// what a GPU's launches and the emulator's are instantiated from. No CUDA here.
#pragma once

#include <cstdint>

#include "comm/device/dtype.h"
#include "comm/error.h"

namespace kvfold::cuda {

// Calls use.template operator()<float or uint16_t>().
template <typename Use>
void WithElement(DType dtype, Use&& use) {
  if (dtype == DType::kF32) return use.template operator()<float>();
  KVFOLD_CHECK(dtype == DType::kBF16, "dtype", DTypeName(dtype));
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
    case DType::kI32:
      break;
  }
  KVFOLD_CHECK(false, "kv_dtype", DTypeName(dtype));
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
      KVFOLD_CHECK(false, "head_dim", head_dim);
  }
}

}  // namespace kvfold::cuda
