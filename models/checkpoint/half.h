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

// The bits of a half as single precision, but for its sign, if it is normal and if it is not.
struct HalfReadings {
  uint32_t sign;
  uint32_t normal;
  uint32_t subnormal;
  uint32_t is_subnormal;  // all ones or zero
};

// In integer steps and two exact float operations (the method of the FP16 library,
// fp16_ieee_to_fp32_value): a normal number is moved to the larger exponent field and scaled back
// by 2^-112; a subnormal one is put under the exponent of 0.5, whose 0.5 is then subtracted.
inline HalfReadings ReadHalf(uint16_t half) {
  const uint32_t word = static_cast<uint32_t>(half) << 16;
  const uint32_t shifted = word + word;
  const float normal = std::bit_cast<float>((shifted >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
  const float subnormal = std::bit_cast<float>((shifted >> 17) | (126u << 23)) - 0.5f;
  return {word & 0x80000000u, std::bit_cast<uint32_t>(normal), std::bit_cast<uint32_t>(subnormal),
          -static_cast<uint32_t>(shifted < (1u << 27))};
}

inline float HalfToFloat(uint16_t half) {
  const HalfReadings reading = ReadHalf(half);
  const uint32_t magnitude = reading.is_subnormal != 0 ? reading.subnormal : reading.normal;
  return std::bit_cast<float>(reading.sign | magnitude);
}

// The same for a loop over halves. The choice above becomes a branch, which is the faster one for a
// block's scale, but is not vectorised.
inline float HalfToFloatByMask(uint16_t half) {
  const HalfReadings reading = ReadHalf(half);
  const uint32_t magnitude =
      (reading.subnormal & reading.is_subnormal) | (reading.normal & ~reading.is_subnormal);
  return std::bit_cast<float>(reading.sign | magnitude);
}

// The half that is stored at `bytes`.
inline float LoadHalf(const uint8_t* bytes) { return HalfToFloat(LoadUnaligned<uint16_t>(bytes)); }

}  // namespace kvfold::internal
