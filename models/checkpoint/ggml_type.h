// models/checkpoint/ggml_type.h: the element types of GGUF tensors, by their number in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "models/checkpoint/checkpoint.h"

namespace kvfold {

// A row of a tensor is stored in blocks of block_elements, each block_bytes long.
struct GgmlType {
  uint32_t id = 0;
  std::string_view name;
  int64_t block_elements = 1;
  int64_t block_bytes = 0;
  std::optional<StorageType> storage;  // nullopt: known, but this program cannot read its elements
};

// nullptr where the number is not known.
const GgmlType* FindGgmlType(uint32_t id);
// "Q4_K", or "type 99" for a number that is not known.
std::string GgmlTypeName(uint32_t id);
// The names of all types with a storage type: "F32, F16 or Q4_0".
std::string ReadableGgmlTypes();

}  // namespace kvfold
