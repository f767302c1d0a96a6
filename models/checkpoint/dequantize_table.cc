#include "models/checkpoint/dequantize_table.h"

#include <array>
#include <bit>
#include <cstring>

#include "models/checkpoint/half.h"

namespace kvfold::internal {
namespace {

using Four = float __attribute__((vector_size(16)));

struct Pair {
  float low;
  float high;
};

// Both values of a byte, that of its low half first: one look-up for two elements.
constexpr std::array<Pair, 256> Pairs(const float (&values)[16]) {
  std::array<Pair, 256> pairs{};
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i] = {values[i % 16], values[i / 16]};
  return pairs;
}

// kvalues_iq4nl and kvalues_mxfp4 of ggml-common.h.
constexpr auto kPairsIQ4 =
    Pairs({-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113});
constexpr auto kPairsMXFP4 = Pairs({0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12});

// A run of 32 elements, four bytes at a time: of a plain loop the compiler makes a slower one.
inline void Run(const std::array<Pair, 256>& pairs, float scale, const uint8_t* __restrict q,
                float* __restrict out) {
  for (int i = 0; i < 16; i += 4) {
    const Pair p0 = pairs[q[i]], p1 = pairs[q[i + 1]], p2 = pairs[q[i + 2]], p3 = pairs[q[i + 3]];
    const Four low = Four{p0.low, p1.low, p2.low, p3.low} * scale;
    const Four high = Four{p0.high, p1.high, p2.high, p3.high} * scale;
    std::memcpy(out + i, &low, 16);
    std::memcpy(out + 16 + i, &high, 16);
  }
}

// 2^(e - 128): half of what the byte means, for the table's values are doubled.
inline float HalfPowerOfTwo(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

}  // namespace

void BlockIQ4_NL(const uint8_t* __restrict block, float* __restrict out) {
  Run(kPairsIQ4, LoadHalf(block), block + 2, out);
}

void BlockMXFP4(const uint8_t* __restrict block, float* __restrict out) {
  Run(kPairsMXFP4, HalfPowerOfTwo(block[0]), block + 1, out);
}

void BlockIQ4_XS(const uint8_t* __restrict block, float* __restrict out) {
  const float d = LoadHalf(block);
  const int high = LoadUnaligned<uint16_t>(block + 2);
  const uint8_t* const low = block + 4;
  for (int run = 0; run < 8; ++run) {
    const int scale = (low[run / 2] >> (4 * (run % 2)) & 15) | (high >> (2 * run) & 3) << 4;
    Run(kPairsIQ4, d * static_cast<float>(scale - 32), block + 8 + 16 * run, out + 32 * run);
  }
}

}  // namespace kvfold::internal
