// tests/runtime/kernels/reference.h: what Kernels compute, in double and written plainly, with the
// errors that an implementation in f32 or bf16 may make.
//
// u = 2^-24 is the unit roundoff of f32. A sum of n terms in f32, in whatever order, is off by at
// most n u sum|terms| and, roundings being as good as independent, with certainty for all practical
// purposes by 8 sqrt(n) u sum|terms| (Higham and Mary, "A New Approach to Probabilistic Rounding
// Error Analysis", SIAM J. Sci. Comput. 41(5), 2019; the chance of more is 2 exp(-32)). The second
// is what tells a missing term of thousands from rounding.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "comm/device/dtype.h"

namespace kvfold {

inline constexpr double kRoundoffF32 = 0x1p-24;
inline constexpr double kRoundoffBf16 = 0x1p-8;
// Relative error of the exponentials that kernels may use (runtime/kernels/cpu/simd/vec.h):
// polynomial and roundings for f32 results; for probabilities that are rounded to bf16 anyway.
inline constexpr double kExpErrorF32 = 2.5e-7;
inline constexpr double kExpErrorBf16 = 7.6e-5;

double SumError(int64_t n_terms);  // relative to the sum of the terms' sizes

uint16_t Bf16Bits(float x);  // to nearest, ties to even
float FromBf16Bits(uint16_t bits);
inline float RoundToBf16(float x) { return FromBf16Bits(Bf16Bits(x)); }
// What storing a value x, itself off by at most `error`, as dtype adds to the error. Results below
// the normal numbers may become zero.
double StoreError(DType dtype, double x, double error);

// |got - want| <= bound, element by element; NaN on any side fails.
testing::AssertionResult WithinBounds(std::span<const float> got, std::span<const double> want,
                                      std::span<const double> bounds);

std::vector<float> Normals(std::mt19937_64& random, int64_t n, float deviation = 1.0f);

// One query row of one head over the keys and values that it sees, [n_keys][head_dim] each.
struct AttentionRow {
  std::vector<double> out;  // [head_dim]
  double log_sum_exp = 0;
  // By dim, p_j being the probability of key j:
  std::vector<double> size;           // sum_j p_j |v_jd|
  std::vector<double> spread;         // sum_j p_j |v_jd - out_d|
  std::vector<double> narrow_spread;  // sum_j p_j n_j |v_jd - out_d|
  double narrow_mean = 0;             // sum_j p_j n_j, n_j = scale * sqrt(sum_d (q_d k_jd)^2)
  double narrow_max = 0;              // max_j n_j
  double products_max = 0;            // max_j scale * sum_d |q_d k_jd|
  double value_max = 0;               // max |v|
  int64_t n_keys = 0;
};
AttentionRow AttendRow(std::span<const float> q, std::span<const double> keys,
                       std::span<const double> values, double scale, double score_cap = 0);
// What a cap adds to the error of a score; tanh passes on no more than what it is given.
double CapError(double score_cap);

// How far keys and values of the cache are from those of the reference.
struct CacheError {
  double score = 0;  // largest error of a scaled score
  double value = 0;  // largest error of an element of V
};
struct AttentionBound {
  std::vector<double> out;  // [head_dim]
  double log_sum_exp = 0;
};
// Bounds of an implementation that multiplies in `products` (kF32 or kBF16), sums in f32 and
// writes `out_dtype`: reference.cc derives them.
AttentionBound BoundOf(const AttentionRow& row, DType products, DType out_dtype,
                       const CacheError& cache_error = {});

}  // namespace kvfold
