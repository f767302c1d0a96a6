// tests/support/simt/ptx_emulated.h: the names of runtime/kernels/cuda/ptx.h on the emulated
// machine (simt.h). Included before kernel bodies (*.cuh) in its place.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/support/simt/machine.h"

#define KVFOLD_DEVICE inline

namespace kvfold::ptx {

struct alignas(16) Vector128 {
  uint32_t words[4];
};
struct alignas(8) Vector64 {
  uint32_t words[2];
};

inline int ThreadX() { return simt::Here().thread; }
inline int BlockDimX() { return simt::Here().block_threads; }
inline int BlockX() { return simt::Here().block_x; }
inline int BlockY() { return simt::Here().block_y; }
inline unsigned char* Shared() { return simt::SharedBase(); }

inline void SyncThreads() { simt::BlockBarrier(); }
namespace emulated {
using Words = uint32_t[simt::kCollectiveWords];

inline void Nothing(const Words*, Words*, uint64_t) {}

inline void ShuffleXor(const Words* in, Words* out, uint64_t lanes) {
  for (uint64_t lane = 0; lane < 32; ++lane) out[lane][0] = in[lane ^ lanes][0];
}

inline float Wide(uint32_t pair, int half) {
  return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

inline void Mma(const Words* in, Words* out, uint64_t) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int half = 0; half < 2; ++half) {
      a[g][t + half] = Wide(in[lane][0], half);
      a[g + 8][t + half] = Wide(in[lane][1], half);
      a[g][t + 8 + half] = Wide(in[lane][2], half);
      a[g + 8][t + 8 + half] = Wide(in[lane][3], half);
      b[t + half][g] = Wide(in[lane][4], half);
      b[t + 8 + half][g] = Wide(in[lane][5], half);
    }
  }
  float d[16][8] = {};
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = 2 * (lane % 4);
    const float sums[4] = {d[g][t], d[g][t + 1], d[g + 8][t], d[g + 8][t + 1]};
    for (int i = 0; i < 4; ++i) {
      out[lane][i] = std::bit_cast<uint32_t>(std::bit_cast<float>(in[lane][6 + i]) + sums[i]);
    }
  }
}

template <bool kTransposed>
void LdMatrix(const Words* in, Words* out, uint64_t) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t rows[8][8];
    for (int row = 0; row < 8; ++row) {
      uint64_t address;
      std::memcpy(&address, in[matrix * 8 + row], sizeof(address));
      std::memcpy(rows[row], reinterpret_cast<const void*>(address), 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int r = lane / 4, c = 2 * (lane % 4);
      const uint32_t low = kTransposed ? rows[c][r] : rows[r][c];
      const uint32_t high = kTransposed ? rows[c + 1][r] : rows[r][c + 1];
      out[lane][matrix] = low | high << 16;
    }
  }
}

template <bool kTransposed>
void LdMatrixX4(uint32_t (&r)[4], const void* shared_row) {
  simt::CheckAccess(simt::Space::kShared, shared_row, 16, "ldmatrix's read");
  const auto address = reinterpret_cast<uint64_t>(shared_row);
  uint32_t words[2];
  std::memcpy(words, &address, sizeof(address));
  simt::WarpCollective(&LdMatrix<kTransposed>, words, 2, r, 4, 0);
}
}  // namespace emulated

inline void SyncWarp() { simt::WarpCollective(&emulated::Nothing, nullptr, 0, nullptr, 0, 0); }
inline float ShuffleXor(float x, int lanes) {
  uint32_t word = std::bit_cast<uint32_t>(x);
  simt::WarpCollective(&emulated::ShuffleXor, &word, 1, &word, 1, static_cast<uint64_t>(lanes));
  return std::bit_cast<float>(word);
}

inline uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }
inline float FloatOf(uint32_t bits) { return std::bit_cast<float>(bits); }

inline float Exp2Fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;  // as the instruction flushes; NaN stays
}
inline float ReciprocalFast(float x) { return 1.0f / x; }
inline float Exp2(float x) { return std::exp2(x); }
inline float Exp(float x) { return std::exp(x); }
inline float Log2(float x) { return std::log2(x); }
inline float Sqrt(float x) { return std::sqrt(x); }
inline float Abs(float x) { return std::fabs(x); }
inline float Max(float a, float b) { return std::fmax(a, b); }
inline float RoundToInteger(float x) { return std::nearbyint(x); }
inline double Cos(double x) { return std::cos(x); }
inline double Sin(double x) { return std::sin(x); }

inline uint32_t PackBf16x2(float low, float high) {
  const auto narrow = [](float x) -> uint32_t {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if (std::isnan(x)) return 0x7fffu;  // the instruction's one NaN
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return narrow(low) | narrow(high) << 16;
}

template <typename T>
T Load(const T* at) {
  simt::CheckAccess(simt::Space::kDevice, at, sizeof(T), "a read");
  return *at;
}
template <typename T>
void Store(T* at, T value) {
  simt::CheckAccess(simt::Space::kDevice, at, sizeof(T), "a write");
  *at = value;
}
template <typename T>
T LoadShared(const T* at) {
  simt::CheckAccess(simt::Space::kShared, at, sizeof(T), "a read");
  return *at;
}
template <typename T>
void StoreShared(T* at, T value) {
  simt::CheckAccess(simt::Space::kShared, at, sizeof(T), "a write");
  *at = value;
}

inline void CpAsync16(void* shared, const void* global) { simt::StartCopy16(shared, global); }
inline void CpAsyncCommit() { simt::CommitCopies(); }
template <int kPending>
void CpAsyncWait() {
  simt::AwaitCopies(kPending);
}

inline void LdMatrixX4(uint32_t (&r)[4], const void* shared_row) {
  emulated::LdMatrixX4<false>(r, shared_row);
}
inline void LdMatrixX4Trans(uint32_t (&r)[4], const void* shared_row) {
  emulated::LdMatrixX4<true>(r, shared_row);
}
inline void MmaBf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t in[10] = {a[0], a[1],         a[2],         a[3],         b0,
                           b1,   BitsOf(d[0]), BitsOf(d[1]), BitsOf(d[2]), BitsOf(d[3])};
  uint32_t out[4];
  simt::WarpCollective(&emulated::Mma, in, 10, out, 4, 0);
  for (int i = 0; i < 4; ++i) d[i] = FloatOf(out[i]);
}

}  // namespace kvfold::ptx
