#include "models/checkpoint/dequantize_k.h"

#include "models/checkpoint/half.h"

namespace kvfold::internal {
namespace {

constexpr int kRunElements = 32;  // of one scale and one minimum
constexpr int kRuns = 8;

struct RunScales {
  float scale[kRuns];    // d * scale
  float minimum[kRuns];  // dmin * minimum
};

// The head of a Q4_K or Q5_K block. Six bits each: bytes 0 to 3 are the scales of runs 0 to 3,
// bytes 4 to 7 their minima; bytes 8 to 11 hold the low halves of runs 4 to 7, whose upper two bits
// stand above the six bits of runs 0 to 3.
inline RunScales ReadRunScales(const uint8_t* block) {
  const float d = LoadHalf(block);
  const float dmin = LoadHalf(block + 2);
  const uint8_t* const packed = block + 4;
  RunScales runs;
  for (int i = 0; i < 4; ++i) {
    const int low = packed[i], low_minimum = packed[4 + i], high = packed[8 + i];
    runs.scale[i] = d * static_cast<float>(low & 63);
    runs.minimum[i] = dmin * static_cast<float>(low_minimum & 63);
    runs.scale[4 + i] = d * static_cast<float>((high & 15) | (low >> 6 << 4));
    runs.minimum[4 + i] = dmin * static_cast<float>((high >> 4) | (low_minimum >> 6 << 4));
  }
  return runs;
}

// The second 16 elements of a run of 32 have a scale of their own.
constexpr int kScaleElements = 16;

}  // namespace

void BlockQ2_K(const uint8_t* __restrict block, float* __restrict out) {
  const uint8_t* const packed = block;
  const float d = LoadHalf(block + 80);
  const float dmin = LoadHalf(block + 82);
  float scales[16], minima[16];
  for (int i = 0; i < 16; ++i) {
    scales[i] = d * static_cast<float>(packed[i] & 15);
    minima[i] = dmin * static_cast<float>(packed[i] >> 4);
  }
  for (int run = 0; run < kRuns; ++run, out += kRunElements) {
    const uint8_t* const q = block + 16 + kRunElements * (run / 4);
    const int shift = 2 * (run % 4);
    for (int part = 0; part < 2; ++part) {
      const float scale = scales[2 * run + part], minimum = minima[2 * run + part];
      for (int j = part * kScaleElements; j < (part + 1) * kScaleElements; ++j) {
        out[j] = scale * static_cast<float>(q[j] >> shift & 3) - minimum;
      }
    }
  }
}

void BlockQ3_K(const uint8_t* __restrict block, float* __restrict out) {
  const uint8_t* const high = block;
  const uint8_t* const packed = block + 96;
  const float d = LoadHalf(block + 108);
  float scales[16];
  for (int i = 0; i < 16; ++i) {
    const int low = packed[i % 8] >> (i / 8 * 4) & 15;
    const int upper = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    scales[i] = d * static_cast<float>((low | upper << 4) - 32);
  }
  for (int run = 0; run < kRuns; ++run, out += kRunElements) {
    const uint8_t* const q = block + 32 + kRunElements * (run / 4);
    const int shift = 2 * (run % 4);
    for (int part = 0; part < 2; ++part) {
      const float scale = scales[2 * run + part];
      for (int j = part * kScaleElements; j < (part + 1) * kScaleElements; ++j) {
        const int value = (q[j] >> shift & 3) | (high[j] >> run & 1) << 2;
        out[j] = scale * static_cast<float>(value - 4);
      }
    }
  }
}

void BlockQ4_K(const uint8_t* __restrict block, float* __restrict out) {
  const RunScales runs = ReadRunScales(block);
  const uint8_t* q = block + 16;
  for (int run = 0; run < kRuns; run += 2, q += kRunElements, out += 2 * kRunElements) {
    for (int j = 0; j < kRunElements; ++j) {
      out[j] = runs.scale[run] * static_cast<float>(q[j] & 15) - runs.minimum[run];
    }
    for (int j = 0; j < kRunElements; ++j) {
      out[kRunElements + j] =
          runs.scale[run + 1] * static_cast<float>(q[j] >> 4) - runs.minimum[run + 1];
    }
  }
}

void BlockQ5_K(const uint8_t* __restrict block, float* __restrict out) {
  const RunScales runs = ReadRunScales(block);
  const uint8_t* const high = block + 16;
  const uint8_t* q = block + 48;
  for (int run = 0; run < kRuns; run += 2, q += kRunElements, out += 2 * kRunElements) {
    for (int j = 0; j < kRunElements; ++j) {
      const int value = (q[j] & 15) | ((high[j] >> run & 1) << 4);
      out[j] = runs.scale[run] * static_cast<float>(value) - runs.minimum[run];
    }
    for (int j = 0; j < kRunElements; ++j) {
      const int value = (q[j] >> 4) | ((high[j] >> (run + 1) & 1) << 4);
      out[kRunElements + j] =
          runs.scale[run + 1] * static_cast<float>(value) - runs.minimum[run + 1];
    }
  }
}

void BlockQ6_K(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block + 208);
  float scales[16];
  for (int i = 0; i < 16; ++i) {
    scales[i] = d * static_cast<float>(static_cast<int8_t>(block[192 + i]));
  }
  for (int run = 0; run < kRuns; ++run, out += kRunElements) {
    const int half = run / 4, nibble = run / 2 % 2;
    const uint8_t* const q = block + 64 * half + kRunElements * (run % 2);
    const uint8_t* const high = block + 128 + kRunElements * half;
    const int high_shift = 2 * (run % 4);
    for (int part = 0; part < 2; ++part) {
      const float scale = scales[2 * run + part];
      for (int j = part * kScaleElements; j < (part + 1) * kScaleElements; ++j) {
        const int value = (q[j] >> (4 * nibble) & 15) | ((high[j] >> high_shift & 3) << 4);
        out[j] = scale * static_cast<float>(value - 32);
      }
    }
  }
}

}  // namespace kvfold::internal
