// runtime/kernels/cpu/simd/micro_gemm.h: small products whose right-hand side lies as the processor
// reads it.
//
//   c[m][n] (+)= sum_k a[m][k] * b[k / p][n][k % p]        p = 1: f32; p = 2: pairs of bf16
//
// Where k is odd, the last pair of b ends in zeros and a's is read as one element. Every c element
// is summed over rising k in one accumulator: its bits do not depend on m, n or the neighbours.
#pragma once

#include "runtime/kernels/cpu/simd/vec.h"

namespace kvfold::cpu {
namespace {

struct F32Products {
  using Element = float;
  static constexpr int kPairs = 1;  // elements of k that one step takes
  static KVFOLD_INLINE F32v Broadcast(const float* a) { return Splat(*a); }
  static KVFOLD_INLINE F32v LoadB(const float* b) { return Load(b); }
  static KVFOLD_INLINE F32v MultiplyAdd(F32v sum, F32v a, F32v b) { return a * b + sum; }
  // One row times the last n_tail < kLanes columns.
  static KVFOLD_INLINE void Tail(const float* a, const float* b, int64_t ldb, int64_t n_tail,
                                 int64_t k, float* c, bool accumulate) {
    for (int64_t j = 0; j < n_tail; ++j) {
      float sum = accumulate ? c[j] : 0.0f;
      for (int64_t i = 0; i < k; ++i) sum = a[i] * b[i * ldb + j] + sum;
      c[j] = sum;
    }
  }
};

#if KVFOLD_SIMD_BF16
struct Bf16Products {
  using Element = uint16_t;
  static constexpr int kPairs = 2;
  static KVFOLD_INLINE __m512bh Broadcast(const uint16_t* a) {
    int32_t pair;
    __builtin_memcpy(&pair, a, 4);
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
  }
  static KVFOLD_INLINE __m512bh BroadcastLast(const uint16_t* a) {
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(*a));
  }
  static KVFOLD_INLINE __m512bh LoadB(const uint16_t* b) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(b));
  }
  static KVFOLD_INLINE F32v MultiplyAdd(F32v sum, __m512bh a, __m512bh b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
  // k even. Masked vectors, not a loop over floats: GCC 12 vectorises the sum over pairs wrongly at
  // -O3.
  static KVFOLD_INLINE void Tail(const uint16_t* a, const uint16_t* b, int64_t ldb, int64_t n_tail,
                                 int64_t k, float* c, bool accumulate) {
    const auto columns = static_cast<__mmask16>((1u << n_tail) - 1);
    F32v sum = accumulate ? _mm512_maskz_loadu_ps(columns, c) : F32v{};
    for (int64_t i = 0; i < k / 2; ++i) {
      const __m512i right = _mm512_maskz_loadu_epi32(columns, b + i * ldb * 2);
      sum = MultiplyAdd(sum, Broadcast(a + i * 2), reinterpret_cast<__m512bh>(right));
    }
    _mm512_mask_storeu_ps(c, columns, sum);
  }
};
#endif

// Memory that a product reads into the second cache beside its work: one line every `interval`
// steps of k.
struct NoFetch {
  KVFOLD_INLINE void Step() {}
};
struct LineFetch {
  const std::byte* next;
  const std::byte* end;
  int64_t interval;
  int64_t wait;
  KVFOLD_INLINE void Step() {
    if (--wait > 0 || next >= end) return;
    __builtin_prefetch(next, 0, 2);
    next += 64;
    wait = interval;
  }
};

// Registers: kRows * kVectors sums, kVectors of b, one of a.
#if KVFOLD_SIMD_BYTES == 64
inline constexpr int kGemmRows = 6;
inline constexpr int kGemmVectors = 4;
#else
inline constexpr int kGemmRows = 6;
inline constexpr int kGemmVectors = 2;
#endif

template <typename Products, int kRows, int kVectors, typename Fetch>
KVFOLD_INLINE void GemmTile(const typename Products::Element* a, int64_t lda,
                            const typename Products::Element* b, int64_t ldb, int64_t k, float* c,
                            int64_t ldc, bool accumulate, Fetch& fetch) {
  constexpr int p = Products::kPairs;
  F32v sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = accumulate ? Load(c + r * ldc + v * kLanes) : F32v{};
  }
  const int64_t steps = k / p;
  for (int64_t i = 0; i < steps; ++i) {
    decltype(Products::LoadB(b)) right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = Products::LoadB(b + (i * ldb + v * kLanes) * p);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto left = Products::Broadcast(a + r * lda + i * p);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = Products::MultiplyAdd(sums[r][v], left, right[v]);
    }
    fetch.Step();
  }
  if constexpr (p == 2) {
    if (k % 2 != 0) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto left = Products::BroadcastLast(a + r * lda + k - 1);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = Products::MultiplyAdd(sums[r][v], left,
                                             Products::LoadB(b + (steps * ldb + v * kLanes) * p));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Store(c + r * ldc + v * kLanes, sums[r][v]);
  }
}

template <typename Products, int kVectors, typename Fetch>
KVFOLD_INLINE void GemmColumns(const typename Products::Element* a, int64_t lda,
                               const typename Products::Element* b, int64_t ldb, int64_t m,
                               int64_t k, float* c, int64_t ldc, bool accumulate, Fetch& fetch) {
  int64_t r = 0;
  for (; r + kGemmRows <= m; r += kGemmRows) {
    GemmTile<Products, kGemmRows, kVectors>(a + r * lda, lda, b, ldb, k, c + r * ldc, ldc,
                                            accumulate, fetch);
  }
  a += r * lda;
  c += r * ldc;
  switch (m - r) {
    case 1:
      return GemmTile<Products, 1, kVectors>(a, lda, b, ldb, k, c, ldc, accumulate, fetch);
    case 2:
      return GemmTile<Products, 2, kVectors>(a, lda, b, ldb, k, c, ldc, accumulate, fetch);
    case 3:
      return GemmTile<Products, 3, kVectors>(a, lda, b, ldb, k, c, ldc, accumulate, fetch);
    case 4:
      return GemmTile<Products, 4, kVectors>(a, lda, b, ldb, k, c, ldc, accumulate, fetch);
    case 5:
      return GemmTile<Products, 5, kVectors>(a, lda, b, ldb, k, c, ldc, accumulate, fetch);
    default:
      return;
  }
}

template <typename Products>
void Gemm(const typename Products::Element* a, int64_t lda, const typename Products::Element* b,
          int64_t ldb, int64_t m, int64_t n, int64_t k, float* c, int64_t ldc, bool accumulate) {
  constexpr int p = Products::kPairs;
  NoFetch fetch;
  int64_t j = 0;
  for (; j + kGemmVectors * kLanes <= n; j += kGemmVectors * kLanes) {
    GemmColumns<Products, kGemmVectors>(a, lda, b + j * p, ldb, m, k, c + j, ldc, accumulate,
                                        fetch);
  }
  for (; j + kLanes <= n; j += kLanes) {
    GemmColumns<Products, 1>(a, lda, b + j * p, ldb, m, k, c + j, ldc, accumulate, fetch);
  }
  if (j < n) {  // heads whose width is no multiple of a vector's
    for (int64_t r = 0; r < m; ++r) {
      Products::Tail(a + r * lda, b + j * p, ldb, n - j, k, c + r * ldc + j, accumulate);
    }
  }
}

}  // namespace
}  // namespace kvfold::cpu
