#include "models/checkpoint/dequantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "models/checkpoint/dequantize_k.h"
#include "models/checkpoint/half.h"

namespace kvfold {
namespace {

using internal::LoadHalf;
using internal::LoadUnaligned;

constexpr int64_t kBlockElements = 32;

// The loops below are for the compiler to vectorise: even its baseline reads some 1.5 GB of stored
// weights a second on one core, more than a disk gives.

inline void HalvesToFloats(const uint8_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = LoadHalf(in + 2 * i);
}

inline void BFloatsToFloats(const uint8_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
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

// The fifth bit of element i is bit i of `high`; 0 or 16.
inline int FifthBit(uint32_t high, int64_t i) { return static_cast<int>(high >> i & 1) << 4; }

inline void BlockQ5_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const auto high = LoadUnaligned<uint32_t>(block + 2);
  const uint8_t* const q = block + 6;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>(((q[i] & 15) | FifthBit(high, i)) - 16);
  }
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i + kBlockElements / 2] =
        d * static_cast<float>(((q[i] >> 4) | FifthBit(high, i + kBlockElements / 2)) - 16);
  }
}

inline void BlockQ5_1(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const float m = LoadHalf(block + 2);
  const auto high = LoadUnaligned<uint32_t>(block + 4);
  const uint8_t* const q = block + 8;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>((q[i] & 15) | FifthBit(high, i)) + m;
  }
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i + kBlockElements / 2] =
        d * static_cast<float>((q[i] >> 4) | FifthBit(high, i + kBlockElements / 2)) + m;
  }
}

// Whole blocks straight to `out`; a block that is only partly asked for by way of a buffer.
template <int64_t kBlockBytes, void (*kBlock)(const uint8_t*, float*),
          int64_t kElements = kBlockElements>
inline void Blocks(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
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

}  // namespace

std::string_view StorageTypeName(StorageType type) {
  switch (type) {
    case StorageType::kF32:
      return "F32";
    case StorageType::kF16:
      return "F16";
    case StorageType::kBF16:
      return "BF16";
    case StorageType::kQ8_0:
      return "Q8_0";
    case StorageType::kQ4_0:
      return "Q4_0";
    case StorageType::kQ4_1:
      return "Q4_1";
    case StorageType::kQ5_0:
      return "Q5_0";
    case StorageType::kQ5_1:
      return "Q5_1";
    case StorageType::kQ4_K:
      return "Q4_K";
    case StorageType::kQ5_K:
      return "Q5_K";
    case StorageType::kQ6_K:
      return "Q6_K";
  }
  return "unknown";
}

void DequantizeRow(StorageType type, const uint8_t* row, int64_t col_begin, int64_t col_end,
                   float* out) {
  const int64_t n = col_end - col_begin;
  if (n == 0) return;  // `out` may be null
  switch (type) {
    case StorageType::kF32:
      std::memcpy(out, row + col_begin * 4, static_cast<size_t>(n) * sizeof(float));
      return;
    case StorageType::kF16:
      HalvesToFloats(row + col_begin * 2, n, out);
      return;
    case StorageType::kBF16:
      BFloatsToFloats(row + col_begin * 2, n, out);
      return;
    case StorageType::kQ8_0:
      Blocks<34, BlockQ8_0>(row, col_begin, col_end, out);
      return;
    case StorageType::kQ4_0:
      Blocks<18, BlockQ4_0>(row, col_begin, col_end, out);
      return;
    case StorageType::kQ4_1:
      Blocks<20, BlockQ4_1>(row, col_begin, col_end, out);
      return;
    case StorageType::kQ5_0:
      Blocks<22, BlockQ5_0>(row, col_begin, col_end, out);
      return;
    case StorageType::kQ5_1:
      Blocks<24, BlockQ5_1>(row, col_begin, col_end, out);
      return;
    case StorageType::kQ4_K:
      Blocks<internal::kBytesQ4_K, internal::DequantizeBlockQ4_K, internal::kSuperBlockElements>(
          row, col_begin, col_end, out);
      return;
    case StorageType::kQ5_K:
      Blocks<internal::kBytesQ5_K, internal::DequantizeBlockQ5_K, internal::kSuperBlockElements>(
          row, col_begin, col_end, out);
      return;
    case StorageType::kQ6_K:
      Blocks<internal::kBytesQ6_K, internal::DequantizeBlockQ6_K, internal::kSuperBlockElements>(
          row, col_begin, col_end, out);
      return;
  }
}

}  // namespace kvfold
