// runtime/kernels/cpu/simd/vec.h: vectors of floats as wide as the instruction set of the file that
// includes it.
//
// Included only by the isa_*.cc files, each compiled with its own flags: KVFOLD_SIMD_BYTES is the
// width, KVFOLD_SIMD_BF16 is 1 where bf16 products are native. Everything is in an anonymous
// namespace and nothing of the standard library is called, so that the linker cannot hand a
// function compiled for one processor to code that runs on another.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvfold::cpu {
namespace {

inline constexpr int kLanes = KVFOLD_SIMD_BYTES / 4;
inline constexpr float kLog2E = 1.4426950408889634f;

typedef float F32v __attribute__((vector_size(KVFOLD_SIMD_BYTES)));
typedef int32_t I32v __attribute__((vector_size(KVFOLD_SIMD_BYTES)));
typedef uint32_t U32v __attribute__((vector_size(KVFOLD_SIMD_BYTES)));
typedef uint16_t U16v __attribute__((vector_size(KVFOLD_SIMD_BYTES / 2)));
typedef float F32vUnaligned __attribute__((vector_size(KVFOLD_SIMD_BYTES), aligned(4), may_alias));
typedef uint16_t U16vUnaligned
    __attribute__((vector_size(KVFOLD_SIMD_BYTES / 2), aligned(2), may_alias));

#define KVFOLD_INLINE inline __attribute__((always_inline))

template <typename T>
KVFOLD_INLINE T Smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
KVFOLD_INLINE T Larger(T a, T b) {
  return a < b ? b : a;
}

KVFOLD_INLINE F32v Load(const float* p) { return *reinterpret_cast<const F32vUnaligned*>(p); }
KVFOLD_INLINE void Store(float* p, F32v v) { *reinterpret_cast<F32vUnaligned*>(p) = v; }
KVFOLD_INLINE F32v Splat(float x) { return x - F32v{}; }  // x - 0 is x for every x, -0 included

// The larger of each pair; b where either is NaN.
KVFOLD_INLINE F32v Max(F32v a, F32v b) {
#if KVFOLD_SIMD_BYTES == 64
  return _mm512_max_ps(a, b);
#elif KVFOLD_SIMD_BYTES == 32
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

KVFOLD_INLINE float ReduceMax(F32v v) {
#if KVFOLD_SIMD_BYTES == 64
  return _mm512_reduce_max_ps(v);
#else
  float best = v[0];
  for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
#endif
}

KVFOLD_INLINE float ReduceAdd(F32v v) {
#if KVFOLD_SIMD_BYTES == 64
  return _mm512_reduce_add_ps(v);
#else
  float sum = 0.0f;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
#endif
}

// Round to nearest even. NaN stays NaN: its mantissa's top bit is set by every operation that makes
// one.
KVFOLD_INLINE uint16_t Bf16Of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
KVFOLD_INLINE float F32Of(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
KVFOLD_INLINE void StoreBf16(uint16_t* p, F32v v) {
#if KVFOLD_SIMD_BF16
  const __m256bh half = _mm512_cvtneps_pbh(v);
  __builtin_memcpy(p, &half, sizeof(half));
#else
  U32v bits = reinterpret_cast<U32v>(v);
  const U32v rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32v quiet = (bits >> 16) | 0x40u;
  const I32v is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  bits = is_nan ? quiet : rounded;
  *reinterpret_cast<U16vUnaligned*>(p) = __builtin_convertvector(bits, U16v);
#endif
}

// 2^x for x <= 127, to a relative error of 1e-7 (kDegree 5) or 7.5e-5 (kDegree 3, for results
// rounded to bf16, whose half step is 4e-3): Cody-Waite reduction to [-1/2, 1/2] and the minimax
// polynomial of 2^f there, in Horner's form. Below -125 it is 2^-125. NaN as
// operations make it stays NaN.
template <int kDegree>
KVFOLD_INLINE F32v Exp2(F32v x) {
  static_assert(kDegree == 3 || kDegree == 5);
  x = Max(Splat(-125.0f), x);
  const F32v magic = Splat(
      12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer held in the low mantissa bits
  const F32v shifted = x + magic;
  const F32v f = x - (shifted - magic);
  F32v p;
  if constexpr (kDegree == 5) {
    p = Splat(1.327647199e-03f);
    p = p * f + Splat(9.675541334e-03f);
    p = p * f + Splat(5.550713273e-02f);
    p = p * f + Splat(2.402211972e-01f);
    p = p * f + Splat(6.931469671e-01f);
    p = p * f + Splat(1.000000072f);
  } else {
    p = Splat(5.517166906e-02f);
    p = p * f + Splat(2.426111222e-01f);
    p = p * f + Splat(6.932609855e-01f);
    p = p * f + Splat(9.999280735e-01f);
  }
  const I32v exponent = reinterpret_cast<I32v>(shifted) << 23;
  return reinterpret_cast<F32v>(reinterpret_cast<I32v>(p) + exponent);
}

// 2 / (1 + exp(-2 x)) - 1, x held above -40 so that the power stays finite. NaN stays NaN.
KVFOLD_INLINE F32v Tanh(F32v x) {
  const F32v held = Max(Splat(-40.0f), x);
  return 2.0f / (1.0f + Exp2<5>(held * (-2.0f * kLog2E))) - 1.0f;
}

}  // namespace
}  // namespace kvfold::cpu
