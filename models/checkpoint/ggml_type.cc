#include "models/checkpoint/ggml_type.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <vector>

namespace kvfold {
namespace {

// Block sizes as in gguf-py's GGML_QUANT_SIZES (types 31 to 33, which llama.cpp wrote for a while:
// Q4_0 with rows interleaved). The types without a storage type are here so that their extents in
// the file can be checked, and so that a refusal can name them.
constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4, StorageType::kF32},
    {1, "F16", 1, 2, StorageType::kF16},
    {2, "Q4_0", 32, 18, StorageType::kQ4_0},
    {3, "Q4_1", 32, 20, StorageType::kQ4_1},
    {6, "Q5_0", 32, 22, StorageType::kQ5_0},
    {7, "Q5_1", 32, 24, StorageType::kQ5_1},
    {8, "Q8_0", 32, 34, StorageType::kQ8_0},
    {10, "Q2_K", 256, 84, StorageType::kQ2_K},
    {11, "Q3_K", 256, 110, StorageType::kQ3_K},
    {12, "Q4_K", 256, 144, StorageType::kQ4_K},
    {13, "Q5_K", 256, 176, StorageType::kQ5_K},
    {14, "Q6_K", 256, 210, StorageType::kQ6_K},
    {15, "Q8_K", 256, 292, std::nullopt},
    {16, "IQ2_XXS", 256, 66, StorageType::kIQ2_XXS},
    {17, "IQ2_XS", 256, 74, StorageType::kIQ2_XS},
    {18, "IQ3_XXS", 256, 98, StorageType::kIQ3_XXS},
    {19, "IQ1_S", 256, 50, StorageType::kIQ1_S},
    {20, "IQ4_NL", 32, 18, StorageType::kIQ4_NL},
    {21, "IQ3_S", 256, 110, StorageType::kIQ3_S},
    {22, "IQ2_S", 256, 82, StorageType::kIQ2_S},
    {23, "IQ4_XS", 256, 136, StorageType::kIQ4_XS},
    {24, "I8", 1, 1, std::nullopt},
    {25, "I16", 1, 2, std::nullopt},
    {26, "I32", 1, 4, std::nullopt},
    {27, "I64", 1, 8, std::nullopt},
    {28, "F64", 1, 8, std::nullopt},
    {29, "IQ1_M", 256, 56, StorageType::kIQ1_M},
    {30, "BF16", 1, 2, StorageType::kBF16},
    {31, "Q4_0_4_4", 32, 18, std::nullopt},
    {32, "Q4_0_4_8", 32, 18, std::nullopt},
    {33, "Q4_0_8_8", 32, 18, std::nullopt},
    {34, "TQ1_0", 256, 54, StorageType::kTQ1_0},
    {35, "TQ2_0", 256, 66, StorageType::kTQ2_0},
    {39, "MXFP4", 32, 17, StorageType::kMXFP4},
    {40, "NVFP4", 64, 36, std::nullopt},
    {41, "Q1_0", 128, 18, std::nullopt},
};

}  // namespace

const GgmlType* FindGgmlType(uint32_t id) {
  const auto* const found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                         [id](const GgmlType& type) { return type.id == id; });
  return found == std::end(kTypes) ? nullptr : found;
}

std::string GgmlTypeName(uint32_t id) {
  const GgmlType* const type = FindGgmlType(id);
  return type != nullptr ? std::string(type->name) : fmt::format("type {}", id);
}

std::string ReadableGgmlTypes() {
  std::vector<std::string_view> names;
  for (const GgmlType& type : kTypes) {
    if (type.storage.has_value()) names.push_back(type.name);
  }
  const std::string_view last = names.back();
  names.pop_back();
  return fmt::format("{} or {}", fmt::join(names, ", "), last);
}

}  // namespace kvfold
