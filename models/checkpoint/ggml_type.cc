#include "models/checkpoint/ggml_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kvfold {
namespace {

// Block sizes as in gguf-py's GGML_QUANT_SIZES. The types without a storage type are here so that
// their extents in the file can be checked, and so that a refusal can name them.
constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4, StorageType::kF32},
    {1, "F16", 1, 2, StorageType::kF16},
    {2, "Q4_0", 32, 18, StorageType::kQ4_0},
    {3, "Q4_1", 32, 20, StorageType::kQ4_1},
    {6, "Q5_0", 32, 22, StorageType::kQ5_0},
    {7, "Q5_1", 32, 24, StorageType::kQ5_1},
    {8, "Q8_0", 32, 34, StorageType::kQ8_0},
    {10, "Q2_K", 256, 84, std::nullopt},
    {11, "Q3_K", 256, 110, std::nullopt},
    {12, "Q4_K", 256, 144, StorageType::kQ4_K},
    {13, "Q5_K", 256, 176, StorageType::kQ5_K},
    {14, "Q6_K", 256, 210, StorageType::kQ6_K},
    {15, "Q8_K", 256, 292, std::nullopt},
    {16, "IQ2_XXS", 256, 66, std::nullopt},
    {17, "IQ2_XS", 256, 74, std::nullopt},
    {18, "IQ3_XXS", 256, 98, std::nullopt},
    {19, "IQ1_S", 256, 50, std::nullopt},
    {20, "IQ4_NL", 32, 18, std::nullopt},
    {21, "IQ3_S", 256, 110, std::nullopt},
    {22, "IQ2_S", 256, 82, std::nullopt},
    {23, "IQ4_XS", 256, 136, std::nullopt},
    {24, "I8", 1, 1, std::nullopt},
    {25, "I16", 1, 2, std::nullopt},
    {26, "I32", 1, 4, std::nullopt},
    {27, "I64", 1, 8, std::nullopt},
    {28, "F64", 1, 8, std::nullopt},
    {29, "IQ1_M", 256, 56, std::nullopt},
    {30, "BF16", 1, 2, StorageType::kBF16},
    {34, "TQ1_0", 256, 54, std::nullopt},
    {35, "TQ2_0", 256, 66, std::nullopt},
    {39, "MXFP4", 32, 17, std::nullopt},
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

}  // namespace kvfold
