// comm/device/dtype.h: element types of memory that kernels compute on. (Storage types of
// checkpoints, some of which come in blocks, are models/checkpoint.h's StorageType.)
#pragma once

#include <cstdint>
#include <string_view>

namespace kvfold {

enum class DType : uint8_t { kF32, kBF16, kI8 };

constexpr int64_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kBF16:
      return 2;
    case DType::kI8:
      return 1;
  }
  return 0;
}

constexpr std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kI8:
      return "int8";
  }
  return "?";
}

}  // namespace kvfold
