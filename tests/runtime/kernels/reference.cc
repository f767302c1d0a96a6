#include "tests/runtime/kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "shard/kv_layout.h"

namespace kvfold {

double SumError(int64_t n_terms) {
  const auto n = static_cast<double>(n_terms);
  return std::min(n, 8 * std::sqrt(n)) * kRoundoffF32;
}

uint16_t Bf16Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  const uint32_t below = bits & 0xffffu;
  uint32_t high = bits >> 16;
  if (below > 0x8000u || (below == 0x8000u && (high & 1u) != 0)) ++high;
  return static_cast<uint16_t>(high);
}

float FromBf16Bits(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

double StoreError(DType dtype, double x, double error) {
  const double flushed = std::numeric_limits<float>::min();
  if (dtype == DType::kF32) return flushed;
  // Half a step of bf16 (8 bits) where the value may lie at most.
  const double at_most = std::max(std::abs(x) + error, flushed);
  return std::ldexp(1.0, std::ilogb(at_most) - 8) + flushed;
}

testing::AssertionResult WithinBounds(std::span<const float> got, std::span<const double> want,
                                      std::span<const double> bounds) {
  if (got.size() != want.size() || got.size() != bounds.size()) {
    return testing::AssertionFailure() << got.size() << " elements vs " << want.size() << " within "
                                       << bounds.size() << " bounds";
  }
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= bounds[i])) {  // negated, so that NaN fails
      return testing::AssertionFailure() << "[" << i << "] got " << got[i] << ", want " << want[i]
                                         << ", off by " << error << ", bound " << bounds[i];
    }
  }
  return testing::AssertionSuccess();
}

std::vector<float> Normals(std::mt19937_64& random, int64_t n, float deviation) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

AttentionRow AttendRow(std::span<const float> q, std::span<const double> keys,
                       std::span<const double> values, double scale, double score_cap) {
  const size_t head_dim = q.size();
  const size_t n_keys = keys.size() / head_dim;
  AttentionRow row;
  row.n_keys = static_cast<int64_t>(n_keys);
  row.out.assign(head_dim, 0.0);
  row.size.assign(head_dim, 0.0);
  row.spread.assign(head_dim, 0.0);
  row.narrow_spread.assign(head_dim, 0.0);

  std::vector<double> scores(n_keys), narrow(n_keys);
  for (size_t j = 0; j < n_keys; ++j) {
    double score = 0, sizes = 0, squares = 0;
    for (size_t d = 0; d < head_dim; ++d) {
      const double product = static_cast<double>(q[d]) * keys[j * head_dim + d];
      score += product;
      sizes += std::abs(product);
      squares += product * product;
    }
    scores[j] = scale * score;
    if (score_cap > 0) scores[j] = score_cap * std::tanh(scores[j] / score_cap);
    narrow[j] = scale * std::sqrt(squares);
    row.narrow_max = std::max(row.narrow_max, narrow[j]);
    row.products_max = std::max(row.products_max, scale * sizes);
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (const double score : scores) total += std::exp(score - max);
  row.log_sum_exp = max + std::log(total);

  for (size_t j = 0; j < n_keys; ++j) {
    const double p = std::exp(scores[j] - row.log_sum_exp);
    row.narrow_mean += p * narrow[j];
    for (size_t d = 0; d < head_dim; ++d) {
      const double value = values[j * head_dim + d];
      row.out[d] += p * value;
      row.size[d] += p * std::abs(value);
      row.value_max = std::max(row.value_max, std::abs(value));
    }
  }
  for (size_t j = 0; j < n_keys; ++j) {
    const double p = std::exp(scores[j] - row.log_sum_exp);
    for (size_t d = 0; d < head_dim; ++d) {
      const double distance = std::abs(values[j * head_dim + d] - row.out[d]);
      row.spread[d] += p * distance;
      row.narrow_spread[d] += p * narrow[j] * distance;
    }
  }
  return row;
}

// cap * (2 / (1 + e) - 1), e = exp(-2 x): a relative error of e, at most d, moves the fraction by
// at most d / 2; x's rounding and that of its factor by u; the sum's, the reciprocal's and the
// difference's roundings by 2 u, 4 u and u; the cap's and the product's are relative to it: 2 u.
double CapError(double score_cap) { return score_cap * (kExpErrorF32 / 2 + 10 * kRoundoffF32); }

// Let every score be off by e_j, |e_j| <= e. With w_j = exp(e_j) the result is
// sum p_j w_j v_j / sum p_j w_j, off from out by sum p_j (w_j - 1)(v_j - out) / sum p_j w_j, since
// sum p_j (v_j - out) = 0: at most exp(2 e) sum p_j |e_j| |v_j - out|. The log-sum-exp is off by at
// most exp(e) sum p_j |e_j|. So:
//   f32 products: |e_j| <= e_wide = ((SumError(head_dim) + 8 u) + 2 u) max_j scale sum|q||k|: the
//     sum, the scaling of q and by log2(e), the subtraction of the maximum.
//   bf16 products: q is rounded to 8 bits, each element by at most 2^-8 of itself; by Hoeffding's
//     inequality the sum of a score's errors is beyond 4 2^-8 n_j with a chance of 7e-4 even if all
//     roundings were as large as can be (they are 0.4 of that in the mean square), and never
//     beyond 2^-8 sum|q||k|. Added to e_wide.
//   Exponentials: relative error x on each side of the fraction, 2 x size_d.
//   bf16 products: p (times the scale of an int8 value) is rounded to 8 bits in the numerator
//     alone: 2^-8 size_d at most.
//   Sums over keys, f32, numerator and denominator: 2 SumError(n_keys) size_d. A rescaling by a
//     rounded power for each block of keys, the division: 4 u (blocks + 2) size_d.
//   Powers below 2^-125 may be held there or flushed.
AttentionBound BoundOf(const AttentionRow& row, DType products, DType out_dtype,
                       const CacheError& cache_error) {
  const double u = kRoundoffF32;
  const auto head_dim = static_cast<int64_t>(row.out.size());
  const bool narrow = products == DType::kBF16;
  const double wide_error = (SumError(head_dim) + 10 * u) * row.products_max + cache_error.score;
  const double narrow_factor = narrow ? 4 * kRoundoffBf16 : 0.0;
  const double largest =
      wide_error +
      (narrow ? std::min(narrow_factor * row.narrow_max, kRoundoffBf16 * row.products_max) : 0.0);
  const double exp_error = narrow ? kExpErrorBf16 : kExpErrorF32;
  const double blocks = static_cast<double>(row.n_keys) / kBlockTokens + 2;
  const double sums = 2 * SumError(row.n_keys) + 4 * u * (blocks + 2);
  const double held = static_cast<double>(row.n_keys) * 0x1p-120;

  AttentionBound bound;
  for (size_t d = 0; d < row.out.size(); ++d) {
    const double from_scores =
        std::exp(2 * largest) * (wide_error * row.spread[d] + narrow_factor * row.narrow_spread[d]);
    const double relative = 2 * exp_error + (narrow ? kRoundoffBf16 : 0.0) + sums;
    const double error = from_scores + relative * (row.size[d] + cache_error.value) +
                         cache_error.value + held * row.value_max;
    bound.out.push_back(error + 2 * u * std::abs(row.out[d]) +
                        StoreError(out_dtype, row.out[d], error));
  }
  bound.log_sum_exp = std::exp(largest) * (wide_error + narrow_factor * row.narrow_mean) +
                      exp_error + sums + held + 4 * u * (std::abs(row.log_sum_exp) + 1);
  return bound;
}

}  // namespace kvfold
