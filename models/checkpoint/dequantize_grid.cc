#include "models/checkpoint/dequantize_grid.h"

#include <array>
#include <bit>
#include <cstring>

#include "models/checkpoint/bits.h"
#include "models/checkpoint/grids.h"
#include "models/checkpoint/half.h"

namespace kvfold::internal {
namespace {

constexpr int kElements = 256;
constexpr int kRunElements = 32;
constexpr int kRuns = 8;
constexpr int kScaleElements = 16;

// The points of a grid, a byte a value, the first lowest, as a block's bytes take them.
template <typename Word, size_t n_points, size_t n_values>
constexpr std::array<Word, n_points> Unpack(const uint16_t (&packed)[n_points],
                                            const uint8_t (&values)[n_values]) {
  constexpr size_t kBits = 16 / sizeof(Word);
  std::array<Word, n_points> points{};
  for (size_t i = 0; i < n_points; ++i) {
    for (size_t j = 0; j < sizeof(Word); ++j) {
      const size_t digit = packed[i] >> (kBits * j) & ((1u << kBits) - 1);
      points[i] |= static_cast<Word>(values[digit]) << (8 * j);
    }
  }
  return points;
}

constexpr uint8_t kValuesIQ2[] = {8, 25, 43};
constexpr uint8_t kValuesIQ3_XXS[] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr uint8_t kValuesIQ3_S[] = {1, 3, 5, 7, 9, 11, 13, 15};
// Eight times what they are, and eight more.
constexpr uint8_t kValuesIQ1[] = {0, 8, 16};

constexpr auto kPointsIQ2_XXS = Unpack<uint64_t>(kGridIQ2_XXS, kValuesIQ2);
constexpr auto kPointsIQ2_XS = Unpack<uint64_t>(kGridIQ2_XS, kValuesIQ2);
constexpr auto kPointsIQ2_S = Unpack<uint64_t>(kGridIQ2_S, kValuesIQ2);
constexpr auto kPointsIQ3_XXS = Unpack<uint32_t>(kGridIQ3_XXS, kValuesIQ3_XXS);
constexpr auto kPointsIQ3_S = Unpack<uint32_t>(kGridIQ3_S, kValuesIQ3_S);
constexpr auto kPointsIQ1 = Unpack<uint64_t>(kGridIQ1_S, kValuesIQ1);

// Eight signs of seven bits: the number of ones is even.
constexpr auto kEvenSigns = [] {
  std::array<uint8_t, 128> signs{};
  for (uint32_t i = 0; i < signs.size(); ++i) {
    signs[i] = static_cast<uint8_t>(i | (std::popcount(i) % 2u) << 7);
  }
  return signs;
}();

// The signs of 32 elements, of which `packed` has seven bits for each eight.
inline uint32_t FourEvenSigns(uint32_t packed) {
  uint32_t signs = 0;
  for (int i = 0; i < 4; ++i) {
    signs |= static_cast<uint32_t>(kEvenSigns[packed >> (7 * i) & 127]) << (8 * i);
  }
  return signs;
}

// A block with its points looked up, so that what remains goes through it in order.
struct Points {
  uint8_t value[kElements];
  float scale[kElements / kScaleElements];

  template <typename Word>
  void Set(int index, Word point) {
    std::memcpy(value + sizeof(Word) * static_cast<size_t>(index), &point, sizeof(Word));
  }
  void SetRunScale(int run, float run_scale) { scale[2 * run] = scale[2 * run + 1] = run_scale; }
};

// out = scale * value, negative where the bit of `signs` is one.
inline void WriteSigned(const Points& points, const uint32_t (&signs)[kRuns],
                        float* __restrict out) {
  for (int run = 0; run < kRuns; ++run) {
    for (int part = 0; part < 2; ++part) {
      const float scale = points.scale[2 * run + part];
      for (int j = part * kScaleElements; j < (part + 1) * kScaleElements; ++j) {
        const int value = points.value[kRunElements * run + j];
        const int sign = (signs[run] & kBit[j]) != 0 ? -1 : 0;
        out[kRunElements * run + j] = scale * static_cast<float>((value ^ sign) - sign);
      }
    }
  }
}

// Value 0 to 18 for an eighth of -9 to 9.
inline void WriteEighths(const Points& points, float* __restrict out) {
  for (int part = 0; part < kElements / kScaleElements; ++part) {
    const float scale = points.scale[part] * 0.125f;  // exact: the smallest of them is 2^-24
    for (int j = part * kScaleElements; j < (part + 1) * kScaleElements; ++j) {
      out[j] = scale * static_cast<float>(points.value[j] - 9);
    }
  }
}

// A point of IQ1 with 1/8 taken from its values (is_down 1) or added (0): no byte overflows. Random
// bits are no matter for a branch.
inline uint64_t Shifted(uint64_t point, int is_down) {
  return point + static_cast<uint64_t>(1 - is_down) * 0x0202020202020202ull;
}

inline float QuarterScale(float d, int scale) {
  return d * (0.5f + static_cast<float>(scale)) * 0.25f;
}

inline int HalfByte(const uint8_t* bytes, int i) { return bytes[i / 2] >> (4 * (i % 2)) & 15; }

}  // namespace

void BlockIQ2_XXS(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  Points points;
  uint32_t signs[kRuns];
  for (int run = 0; run < kRuns; ++run) {
    const uint8_t* const low = block + 2 + 8 * run;
    const auto word = LoadUnaligned<uint32_t>(low + 4);
    for (int i = 0; i < 4; ++i) points.Set(4 * run + i, kPointsIQ2_XXS[low[i]]);
    points.SetRunScale(run, QuarterScale(d, static_cast<int>(word >> 28)));
    signs[run] = FourEvenSigns(word);
  }
  WriteSigned(points, signs, out);
}

void BlockIQ2_XS(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const scales = block + 66;
  Points points;
  uint32_t signs[kRuns];
  for (int run = 0; run < kRuns; ++run) {
    signs[run] = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = LoadUnaligned<uint16_t>(block + 2 + 8 * run + 2 * i);
      points.Set(4 * run + i, kPointsIQ2_XS[word & 511]);
      signs[run] |= static_cast<uint32_t>(kEvenSigns[word >> 9]) << (8 * i);
    }
  }
  for (int i = 0; i < 16; ++i) points.scale[i] = QuarterScale(d, HalfByte(scales, i));
  WriteSigned(points, signs, out);
}

void BlockIQ2_S(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const low = block + 2;
  const uint8_t* const high = block + 66;
  const uint8_t* const scales = block + 74;
  Points points;
  uint32_t signs[kRuns];
  for (int run = 0; run < kRuns; ++run) {
    const int bits = high[run] << 8;
    for (int i = 0; i < 4; ++i) {
      points.Set(4 * run + i, kPointsIQ2_S[low[4 * run + i] | (bits >> (2 * i) & 0x300)]);
    }
  }
  std::memcpy(signs, block + 34, sizeof(signs));
  for (int i = 0; i < 16; ++i) points.scale[i] = QuarterScale(d, HalfByte(scales, i));
  WriteSigned(points, signs, out);
}

void BlockIQ3_XXS(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const low = block + 2;
  Points points;
  uint32_t signs[kRuns];
  for (int i = 0; i < kElements / 4; ++i) points.Set(i, kPointsIQ3_XXS[low[i]]);
  for (int run = 0; run < kRuns; ++run) {
    const auto word = LoadUnaligned<uint32_t>(block + 66 + 4 * run);
    points.SetRunScale(run, d * (0.5f + static_cast<float>(static_cast<int>(word >> 28))) * 0.5f);
    signs[run] = FourEvenSigns(word);
  }
  WriteSigned(points, signs, out);
}

void BlockIQ3_S(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const low = block + 2;
  const uint8_t* const high = block + 66;
  const uint8_t* const scales = block + 106;
  Points points;
  uint32_t signs[kRuns];
  for (int run = 0; run < kRuns; ++run) {
    const int bits = high[run] << 8;
    for (int i = 0; i < 8; ++i) {
      points.Set(8 * run + i, kPointsIQ3_S[low[8 * run + i] | (bits >> i & 256)]);
    }
  }
  std::memcpy(signs, block + 74, sizeof(signs));
  for (int run = 0; run < kRuns; ++run) {
    points.SetRunScale(run, d * static_cast<float>(1 + 2 * HalfByte(scales, run)));
  }
  WriteSigned(points, signs, out);
}

void BlockIQ1_S(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const uint8_t* const low = block + 2;
  Points points;
  for (int run = 0; run < kRuns; ++run) {
    const int word = LoadUnaligned<uint16_t>(block + 34 + 2 * run);
    for (int i = 0; i < 4; ++i) {
      const int index = low[4 * run + i] | (word >> (3 * i) & 7) << 8;
      points.Set(4 * run + i, Shifted(kPointsIQ1[index], word >> 15));
    }
    points.SetRunScale(run, d * static_cast<float>(2 * (word >> 12 & 7) + 1));
  }
  WriteEighths(points, out);
}

void BlockIQ1_M(const uint8_t* __restrict block, float* __restrict out) {
  const uint8_t* const low = block;
  const uint8_t* const high = block + 32;
  int words[4];
  for (int i = 0; i < 4; ++i) words[i] = LoadUnaligned<uint16_t>(block + 48 + 2 * i);
  const float d = HalfToFloat(static_cast<uint16_t>(words[0] >> 12 | words[1] >> 12 << 4 |
                                                    words[2] >> 12 << 8 | words[3] >> 12 << 12));
  Points points;
  for (int i = 0; i < kElements / 8; i += 2) {
    const int bits = high[i / 2];
    points.Set(i, Shifted(kPointsIQ1[low[i] | (bits & 7) << 8], bits >> 3 & 1));
    points.Set(i + 1, Shifted(kPointsIQ1[low[i + 1] | (bits >> 4 & 7) << 8], bits >> 7));
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      points.scale[4 * i + j] = d * static_cast<float>(2 * (words[i] >> (3 * j) & 7) + 1);
    }
  }
  WriteEighths(points, out);
}

}  // namespace kvfold::internal
