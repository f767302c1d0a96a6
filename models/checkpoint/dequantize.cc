#include "models/checkpoint/dequantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace kvfold {
namespace {

constexpr int64_t kBlockElements = 32;

template <typename T>
inline T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// The loops below are for the compiler to vectorise: even its baseline reads some 1.5 GB of stored
// weights a second on one core, more than a disk gives.

// IEEE half to single in integer steps and two exact float operations, without a branch (the method
// of the FP16 library, fp16_ieee_to_fp32_value): a normal number is moved to the larger exponent
// field and scaled back by 2^-112; a subnormal one is put under the exponent of 0.5, whose 0.5 is
// then subtracted.
inline float HalfToFloat(uint16_t half) {
  const uint32_t word = static_cast<uint32_t>(half) << 16;
  const uint32_t sign = word & 0x80000000u;
  const uint32_t shifted = word + word;
  const float normal = std::bit_cast<float>((shifted >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
  const float subnormal = std::bit_cast<float>((shifted >> 17) | (126u << 23)) - 0.5f;
  const uint32_t magnitude =
      shifted < (1u << 27) ? std::bit_cast<uint32_t>(subnormal) : std::bit_cast<uint32_t>(normal);
  return std::bit_cast<float>(sign | magnitude);
}

inline void HalvesToFloats(const uint8_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = HalfToFloat(Load<uint16_t>(in + 2 * i));
}

inline void BFloatsToFloats(const uint8_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(in + 2 * i)) << 16);
  }
}

inline void BlockQ8_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = HalfToFloat(Load<uint16_t>(block));
  const uint8_t* const q = block + 2;
  for (int64_t i = 0; i < kBlockElements; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
  }
}

inline void BlockQ4_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = HalfToFloat(Load<uint16_t>(block));
  const uint8_t* const q = block + 2;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>((q[i] & 15) - 8);
    out[i + kBlockElements / 2] = d * static_cast<float>((q[i] >> 4) - 8);
  }
}

inline void BlockQ4_1(const uint8_t* __restrict block, float* __restrict out) {
  const float d = HalfToFloat(Load<uint16_t>(block));
  const float m = HalfToFloat(Load<uint16_t>(block + 2));
  const uint8_t* const q = block + 4;
  for (int64_t i = 0; i < kBlockElements / 2; ++i) {
    out[i] = d * static_cast<float>(q[i] & 15) + m;
    out[i + kBlockElements / 2] = d * static_cast<float>(q[i] >> 4) + m;
  }
}

// Whole blocks straight to `out`; a block that is only partly asked for by way of a buffer.
template <int64_t kBlockBytes, void (*kBlock)(const uint8_t*, float*)>
inline void Blocks(const uint8_t* row, int64_t col_begin, int64_t col_end, float* out) {
  int64_t col = col_begin;
  while (col < col_end) {
    const int64_t block = col / kBlockElements;
    const int64_t first = col - block * kBlockElements;
    const int64_t n = std::min(kBlockElements - first, col_end - col);
    const uint8_t* const bytes = row + block * kBlockBytes;
    if (n == kBlockElements) {
      kBlock(bytes, out);
    } else {
      float whole[kBlockElements];
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
  }
}

}  // namespace kvfold
