#include "models/checkpoint/dequantize_ternary.h"

#include "models/checkpoint/half.h"

namespace kvfold::internal {
namespace {

// The first kDigits digits of each of kBytes bytes, digit by digit; returns the end of what it
// wrote.
template <int kBytes, int kDigits>
inline float* Digits(const uint8_t* __restrict q, float d, float* __restrict out) {
  uint8_t rest[kBytes];
  for (int j = 0; j < kBytes; ++j) rest[j] = q[j];
  for (int digit = 0; digit < kDigits; ++digit, out += kBytes) {
    for (int j = 0; j < kBytes; ++j) {
      const int three = rest[j] * 3;
      out[j] = d * static_cast<float>((three >> 8) - 1);
      rest[j] = static_cast<uint8_t>(three);
    }
  }
  return out;
}

}  // namespace

void BlockTQ1_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block + 52);
  out = Digits<32, 5>(block, d, out);
  out = Digits<16, 5>(block + 32, d, out);
  Digits<4, 4>(block + 48, d, out);
}

void BlockTQ2_0(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block + 64);
  for (const uint8_t* q = block; q < block + 64; q += 32) {
    for (int shift = 0; shift < 8; shift += 2, out += 32) {
      for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>((q[j] >> shift & 3) - 1);
    }
  }
}

}  // namespace kvfold::internal
