// RopeAppend and Attention together, chunk after chunk, against plain attention over keys and
// values that were never rounded: what a cache of each type costs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "shard/kv_cache.h"
#include "tests/runtime/kernels/backend.h"
#include "tests/runtime/kernels/cache_tiles.h"
#include "tests/runtime/kernels/reference.h"

namespace kvfold {
namespace {

constexpr int64_t kHeadDim = 64;
constexpr int64_t kHeads = 3;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kCols = (kHeads + 2 * kKvHeads) * kHeadDim;
const std::vector<int32_t> kKvHeadOf = {0, 0, 1};

class FoldTest : public KernelsTest {
 protected:
  void ExpectPlainAttention(DType kv_dtype, bool has_key_bias);
};

// A head's dims [0, 64) after rotation, in double.
std::vector<double> Rotated(std::span<const float> head, std::span<const float> cos_sin) {
  constexpr size_t kHalf = kHeadDim / 2;
  std::vector<double> out(kHeadDim);
  for (size_t i = 0; i < kHalf; ++i) {
    const double low = head[i], high = head[kHalf + i];
    const double cosine = cos_sin[i], sine = cos_sin[kHalf + i];
    out[i] = low * cosine - high * sine;
    out[kHalf + i] = high * cosine + low * sine;
  }
  return out;
}

void FoldTest::ExpectPlainAttention(DType kv_dtype, bool has_key_bias) {
  const int64_t chunks[] = {1, 7, 120, 64, 130, 1, 700, 1, 3};
  int64_t n = 0;
  for (const int64_t chunk : chunks) n += chunk;
  std::mt19937_64 random(1);
  std::vector<float> rows = Normals(random, n * kCols);
  // Several times as large as what it is added to.
  const std::vector<float> bias = Normals(random, kKvHeads * kHeadDim, has_key_bias ? 4.0f : 0.0f);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < kKvHeads * kHeadDim; ++j)
      rows[static_cast<size_t>(i * kCols + kHeads * kHeadDim + j)] += bias[static_cast<size_t>(j)];
  }
  const auto head_of = [&](int64_t position, int64_t head) {
    return std::span(rows).subspan(static_cast<size_t>(position * kCols + head * kHeadDim),
                                   static_cast<size_t>(kHeadDim));
  };
  std::vector<int64_t> positions, block_positions;
  for (int64_t i = 0; i < n; ++i) {
    positions.push_back(i);
    block_positions.push_back(i / kBlockTokens * kBlockTokens);
  }
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < kHeadDim / 2; ++i) {
    inv_freq.push_back(std::pow(10000.0f, -2.0f * static_cast<float>(i) / kHeadDim));
  }
  Matrix table(backend(), DType::kF32, n, kHeadDim);
  kernels().FillRopeTable(positions, inv_freq, table.view());
  backend().device().stream().Synchronize();
  const std::vector<float> cos_sin = table.Get();
  const auto rotation = [&](int64_t position) {
    return std::span(cos_sin).subspan(static_cast<size_t>(position * kHeadDim), kHeadDim);
  };

  Matrix block_table(backend(), DType::kF32, n, kHeadDim);
  Matrix slot_rope(backend(), DType::kF32, kBlockTokens, kHeadDim);
  Matrix device_bias(backend(), DType::kF32, 1, kKvHeads * kHeadDim);
  kernels().FillRopeTable(block_positions, inv_freq, block_table.view());
  kernels().FillSlotRope(inv_freq, slot_rope.f32());
  device_bias.Set(bias);

  // [kv head][position][dim], and the largest elements of each row, of keys without their bias.
  std::vector<double> keys[kKvHeads], values[kKvHeads], k_max[kKvHeads], v_max[kKvHeads];
  for (int64_t head = 0; head < kKvHeads; ++head) {
    for (int64_t i = 0; i < n; ++i) {
      const std::vector<double> k = Rotated(head_of(i, kHeads + head), rotation(i));
      const std::span<const float> v = head_of(i, kHeads + kKvHeads + head);
      keys[head].insert(keys[head].end(), k.begin(), k.end());
      values[head].insert(values[head].end(), v.begin(), v.end());
      k_max[head].push_back(0);
      v_max[head].push_back(0);
      const std::vector<double> turned = Rotated(
          std::span(bias).subspan(static_cast<size_t>(head * kHeadDim), kHeadDim), rotation(i));
      for (size_t d = 0; d < k.size(); ++d)
        k_max[head].back() = std::max(k_max[head].back(), std::abs(k[d] - turned[d]));
      for (const float x : v) {
        v_max[head].back() = std::max(v_max[head].back(), static_cast<double>(std::abs(x)));
      }
    }
  }

  const float scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  AttentionHeads heads{kHeads, kKvHeads, kHeadDim, kKvHeadOf, scale};
  if (has_key_bias) heads.slot_rope = slot_rope.f32();
  double largest_bias = 0;
  for (const float x : bias)
    largest_bias = std::max(largest_bias, static_cast<double>(std::abs(x)));
  const KvLayout layout{
      GroupLayers({0}), kKvHeads, kHeadDim, kv_dtype, kernels().kv_interleave(kv_dtype),
      has_key_bias};
  KvPool pool(backend().device(), layout, {n / kBlockTokens + 1});
  FillWithStale(backend(), pool);
  KvCache cache(pool);
  const GuardedBytes scratch(backend(), kernels().ScratchBytes(heads, 1));
  for (const int64_t chunk_tokens : chunks) {
    PendingChunk chunk = cache.Begin(chunk_tokens);
    const int64_t begin = chunk.begin();
    const SequenceRows sequence{0, chunk_tokens, cache.View(chunk, 0)};
    Matrix qkv(backend(), DType::kF32, chunk_tokens, kCols);
    Matrix out(backend(), kernels().activation_dtype(), chunk_tokens, kHeads * kHeadDim);
    Matrix lse(backend(), DType::kF32, chunk_tokens, kHeads);
    qkv.Set(std::span(rows).subspan(static_cast<size_t>(begin * kCols),
                                    static_cast<size_t>(chunk_tokens * kCols)));
    KeyBias key_bias;
    if (has_key_bias) {
      key_bias = {device_bias.f32(), block_table.view().Rows(begin, begin + chunk_tokens)};
    }
    kernels().RopeAppend(qkv.view(), table.view().Rows(begin, begin + chunk_tokens), heads,
                         {&sequence, 1}, key_bias);
    kernels().Attention(qkv.view(), heads, {&sequence, 1}, scratch.span(), out.view(), lse.f32());
    backend().device().stream().Synchronize();
    cache.Commit(std::move(chunk));

    const std::vector<float> got = out.Get(), got_lse = lse.Get();
    for (int64_t t = 0; t < chunk_tokens; t += t + 3 < chunk_tokens ? 3 + t / 8 : 1) {
      for (int64_t head = 0; head < kHeads; ++head) {
        const auto kv_head = static_cast<size_t>(kKvHeadOf[static_cast<size_t>(head)]);
        const auto seen = static_cast<size_t>(begin + t + 1);
        const std::vector<double> q = Rotated(head_of(begin + t, head), rotation(begin + t));
        const std::vector<float> q_f32(q.begin(), q.end());
        const AttentionRow want =
            AttendRow(q_f32, std::span(keys[kv_head]).first(seen * kHeadDim),
                      std::span(values[kv_head]).first(seen * kHeadDim), scale);
        // Rotated in f32, q and k are off by 3 u of two products each, at most sqrt(2) of what
        // they rotate. bf16: an element is off by 2^-8 of itself. int8: by max|x| / 254 of its
        // row, so a score by scale * sum|q| * max|k| / 254.
        CacheError error;
        double q_size = 0, largest_k = 0, largest_v = 0;
        for (const double x : q) q_size += std::abs(x);
        for (size_t j = 0; j < seen; ++j) {
          largest_k = std::max(largest_k, k_max[kv_head][j]);
          largest_v = std::max(largest_v, v_max[kv_head][j]);
        }
        // A bias is turned twice on its way in and once on its way out, from cosines off by 2 u.
        error.score = 2 * 6 * kRoundoffF32 * scale * q_size * 1.5 * largest_k +
                      40 * kRoundoffF32 * scale * q_size * 2 * largest_bias;
        if (kv_dtype == DType::kBF16) {
          error.score += kRoundoffBf16 * want.products_max;
          error.value = kRoundoffBf16 * *std::max_element(want.size.begin(), want.size.end());
        } else if (kv_dtype == DType::kI8) {
          error.score += scale * q_size * largest_k / 254 * (1 + 1e-4);
          error.value = largest_v / 254 * (1 + 1e-4);
          if (has_key_bias && backend().AttentionProducts(kv_dtype) == DType::kBF16)
            error.score += kRoundoffBf16 * want.products_max;
        }
        const AttentionBound bound = BoundOf(want, backend().AttentionProducts(kv_dtype),
                                             kernels().activation_dtype(), error);
        const auto at = static_cast<size_t>(t * kHeads + head);
        ASSERT_TRUE(
            WithinBounds(std::span(got).subspan(at * kHeadDim, kHeadDim), want.out, bound.out))
            << "cache " << DTypeName(kv_dtype) << ", position " << begin + t << ", head " << head;
        ASSERT_LE(std::abs(got_lse[at] - want.log_sum_exp), bound.log_sum_exp)
            << "cache " << DTypeName(kv_dtype) << ", position " << begin + t << ", head " << head;
        // The bounds above are worth having: values have size 1.
        if (seen > 100 && !has_key_bias) {
          const double worst = *std::max_element(bound.out.begin(), bound.out.end());
          ASSERT_LT(worst, kv_dtype == DType::kF32 && kernels().activation_dtype() == DType::kF32
                               ? 1e-3
                               : 0.3);
        }
      }
    }
  }
}

TEST_P(FoldTest, ChunksThroughTheCacheEqualPlainAttention) {
  for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8})
    ExpectPlainAttention(kv_dtype, false);
}

TEST_P(FoldTest, ChunksThroughACacheWithAKeyBiasToo) { ExpectPlainAttention(DType::kI8, true); }

KVFOLD_FOR_ALL_IMPLEMENTATIONS(FoldTest);

}  // namespace
}  // namespace kvfold
