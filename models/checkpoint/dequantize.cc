#include "models/checkpoint/dequantize.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "models/checkpoint/bits.h"
#include "models/checkpoint/dequantize_grid.h"
#include "models/checkpoint/dequantize_k.h"
#include "models/checkpoint/dequantize_table.h"
#include "models/checkpoint/dequantize_ternary.h"
#include "models/checkpoint/half.h"

namespace kvfold {
namespace {

using internal::HalfToFloatByMask;
using internal::kBit;
using internal::LoadHalf;
using internal::LoadUnaligned;

constexpr int64_t kBlockElements = 32;

// The loops below are for the compiler to vectorise: even its baseline reads two to four billion
// weights a second on one core, more than a disk gives.

inline void CopyFloats(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
  std::memcpy(out, row + col_begin * 4, static_cast<size_t>(col_end - col_begin) * sizeof(float));
}

inline void HalvesToFloats(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
  const uint8_t* const in = row + 2 * col_begin;
  for (int64_t i = 0; i < col_end - col_begin; ++i) {
    out[i] = HalfToFloatByMask(LoadUnaligned<uint16_t>(in + 2 * i));
  }
}

inline void BFloatsToFloats(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
  const uint8_t* const in = row + 2 * col_begin;
  for (int64_t i = 0; i < col_end - col_begin; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(LoadUnaligned<uint16_t>(in + 2 * i)) << 16);
  }
}

inline void BlockQ8_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const q = block + 2;
  for (int64_t i = 0; i < kBlockElements; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
  }
}

inline void BlockQ4_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const q = block + 2;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>((q[i] & 15) - 8);
    out[i + kBlockElements / 2] = d * static_cast<float>((q[i] >> 4) - 8);
  }
}

inline void BlockQ4_1(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const float m = LoadHalf(block + 2);
  const uint8_t* const q = block + 4;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>(q[i] & 15) + m;
    out[i + kBlockElements / 2] = d * static_cast<float>(q[i] >> 4) + m;
  }
}

// The low halves of 16 bytes, then their upper halves. Numbers put together in bytes first and
// turned into floats in a loop over the whole block are vectorised, which both at once are not.
struct HalfBytes {
  explicit HalfBytes(const uint8_t* __restrict bytes) {
    for (int i = 0; i < 16; ++i) value[i] = bytes[i] & 15;
    for (int i = 0; i < 16; ++i) value[16 + i] = bytes[i] >> 4;
  }
  uint8_t value[kBlockElements];
};

inline void BlockQ5_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const auto high = LoadUnaligned<uint32_t>(block + 2);
  const HalfBytes q(block + 6);
  for (int64_t i = 0; i < kBlockElements; ++i) {
    out[i] = d * static_cast<float>(q.value[i] + ((high & kBit[i]) != 0 ? 0 : -16));
  }
}

inline void BlockQ5_1(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const float m = LoadHalf(block + 2);
  const auto high = LoadUnaligned<uint32_t>(block + 4);
  const HalfBytes q(block + 8);
  for (int64_t i = 0; i < kBlockElements; ++i) {
    out[i] = d * static_cast<float>(q.value[i] + ((high & kBit[i]) != 0 ? 16 : 0)) + m;
  }
}

// Whole blocks straight to `out`; a block that is only partly asked for by way of a buffer.
template <int64_t kElements, int64_t kBlockBytes, void (*kBlock)(const uint8_t*, float*)>
void Blocks(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
  int64_t col = col_begin;
  while (col < col_end) {
    const int64_t block = col / kElements;
    const int64_t first = col - block * kElements;
    const int64_t n = std::min(kElements - first, col_end - col);
    const uint8_t* const bytes = row + block * kBlockBytes;
    if (n == kElements) {
      kBlock(bytes, out);
    } else {
      float whole[kElements];
      kBlock(bytes, whole);
      std::memcpy(out, whole + first, static_cast<size_t>(n) * sizeof(float));
    }
    col += n;
    out += n;
  }
}

struct Format {
  StorageType type;
  std::string_view name;
  void (*read_row)(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out);
};

// In the order of StorageType.
constexpr Format kFormats[] = {
    {StorageType::kF32, "F32", CopyFloats},
    {StorageType::kF16, "F16", HalvesToFloats},
    {StorageType::kBF16, "BF16", BFloatsToFloats},
    {StorageType::kQ8_0, "Q8_0", Blocks<32, 34, BlockQ8_0>},
    {StorageType::kQ4_0, "Q4_0", Blocks<32, 18, BlockQ4_0>},
    {StorageType::kQ4_1, "Q4_1", Blocks<32, 20, BlockQ4_1>},
    {StorageType::kQ5_0, "Q5_0", Blocks<32, 22, BlockQ5_0>},
    {StorageType::kQ5_1, "Q5_1", Blocks<32, 24, BlockQ5_1>},
    {StorageType::kQ2_K, "Q2_K", Blocks<256, 84, internal::BlockQ2_K>},
    {StorageType::kQ3_K, "Q3_K", Blocks<256, 110, internal::BlockQ3_K>},
    {StorageType::kQ4_K, "Q4_K", Blocks<256, 144, internal::BlockQ4_K>},
    {StorageType::kQ5_K, "Q5_K", Blocks<256, 176, internal::BlockQ5_K>},
    {StorageType::kQ6_K, "Q6_K", Blocks<256, 210, internal::BlockQ6_K>},
    {StorageType::kIQ4_NL, "IQ4_NL", Blocks<32, 18, internal::BlockIQ4_NL>},
    {StorageType::kIQ4_XS, "IQ4_XS", Blocks<256, 136, internal::BlockIQ4_XS>},
    {StorageType::kMXFP4, "MXFP4", Blocks<32, 17, internal::BlockMXFP4>},
    {StorageType::kTQ1_0, "TQ1_0", Blocks<256, 54, internal::BlockTQ1_0>},
    {StorageType::kTQ2_0, "TQ2_0", Blocks<256, 66, internal::BlockTQ2_0>},
    {StorageType::kIQ2_XXS, "IQ2_XXS", Blocks<256, 66, internal::BlockIQ2_XXS>},
    {StorageType::kIQ2_XS, "IQ2_XS", Blocks<256, 74, internal::BlockIQ2_XS>},
    {StorageType::kIQ2_S, "IQ2_S", Blocks<256, 82, internal::BlockIQ2_S>},
    {StorageType::kIQ3_XXS, "IQ3_XXS", Blocks<256, 98, internal::BlockIQ3_XXS>},
    {StorageType::kIQ3_S, "IQ3_S", Blocks<256, 110, internal::BlockIQ3_S>},
    {StorageType::kIQ1_S, "IQ1_S", Blocks<256, 50, internal::BlockIQ1_S>},
    {StorageType::kIQ1_M, "IQ1_M", Blocks<256, 56, internal::BlockIQ1_M>},
};

constexpr bool IsInOrder() {
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (static_cast<size_t>(kFormats[i].type) != i) return false;
  }
  return true;
}
static_assert(IsInOrder());

const Format& FormatOf(StorageType type) { return kFormats[static_cast<size_t>(type)]; }

}  // namespace

std::string_view StorageTypeName(StorageType type) { return FormatOf(type).name; }

void DequantizeRow(StorageType type, const uint8_t* row, int64_t col_begin, int64_t col_end,
                   float* out) {
  if (col_begin == col_end) return;  // `out` may be null
  FormatOf(type).read_row(row, col_begin, col_end, out);
}

}  // namespace kvfold
