// models/checkpoint/half.h: IEEE half precision as it is stored, to single precision.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace kvfold::internal {

// `bytes` need not be aligned.
template <typename T>
inline T LoadUnaligned(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

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
  // Chosen by a mask: a conditional expression becomes a branch, and the loop is not vectorised.
  const uint32_t is_subnormal = -static_cast<uint32_t>(shifted < (1u << 27));
  const uint32_t magnitude = (std::bit_cast<uint32_t>(subnormal) & is_subnormal) |
                             (std::bit_cast<uint32_t>(normal) & ~is_subnormal);
  return std::bit_cast<float>(sign | magnitude);
}

// The half that is stored at `bytes`.
inline float LoadHalf(const uint8_t* bytes) { return HalfToFloat(LoadUnaligned<uint16_t>(bytes)); }

}  // namespace kvfold::internal
