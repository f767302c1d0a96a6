// Rotations, and keys and values on their way into the cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "tests/runtime/kernels/cache_tiles.h"
#include "tests/runtime/kernels/reference.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

constexpr double u = kRoundoffF32;

std::vector<float> InverseFrequencies(int64_t head_dim, float theta) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    inv_freq.push_back(static_cast<float>(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim))));
  }
  return inv_freq;
}

class RopeTest : public KernelsTest {
 protected:
  Matrix TableOf(std::span<const int64_t> positions, int64_t head_dim) {
    const std::vector<float> inv_freq = InverseFrequencies(head_dim, 10000.0f);
    Matrix table(backend(), DType::kF32, static_cast<int64_t>(positions.size()), head_dim);
    kernels().FillRopeTable(positions, inv_freq, table.view());
    backend().device().stream().Synchronize();
    return table;
  }
};

TEST_P(RopeTest, TableHoldsCosinesThenSines) {
  const std::vector<int64_t> positions = {0, 1, 2, 127, 128, 4095, 131071, 1 << 20, (1 << 24) + 1};
  for (const int64_t head_dim : {2, 8, 64, 80, 128, 256}) {
    for (const int64_t stride : {head_dim, head_dim + 7}) {
      const std::vector<float> inv_freq = InverseFrequencies(head_dim, 500000.0f);
      const auto rows = static_cast<int64_t>(positions.size());
      Matrix table(backend(), DType::kF32, rows, head_dim, stride);
      kernels().FillRopeTable(positions, inv_freq, table.view());
      backend().device().stream().Synchronize();
      EXPECT_TRUE(table.OnlyWrote(rows));
      std::vector<double> want;
      for (const int64_t position : positions) {
        for (const auto function :
             {+[](double x) { return std::cos(x); }, +[](double x) { return std::sin(x); }}) {
          for (const float frequency : inv_freq) {
            // The angle is a product in f32: far out it differs from the exact one by far more
            // than a cosine's rounding.
            const float angle = static_cast<float>(position) * frequency;
            want.push_back(function(static_cast<double>(angle)));
          }
        }
      }
      // Two units in the last place of 1: room for a device's own functions.
      const std::vector<double> bounds(want.size(), 4 * u);
      EXPECT_TRUE(WithinBounds(table.Get(), want, bounds)) << "head_dim " << head_dim;
    }
  }
}

// A step has a table for each RoPE of the model, step after step; more of them than a device keeps
// the frequencies of.
TEST_P(RopeTest, TablesOfSeveralRopesKeepTheirBits) {
  constexpr int64_t kHeadDim = 256;
  const std::vector<int64_t> positions = {0, 5, 4095};
  const auto table = [&](int n) {
    Matrix out(backend(), DType::kF32, 3, kHeadDim);
    kernels().FillRopeTable(positions, InverseFrequencies(kHeadDim, 1000.0f * (1 + n)), out.view());
    backend().device().stream().Synchronize();
    return out.Get();
  };
  std::vector<std::vector<float>> first;
  for (int n = 0; n < 40; ++n) first.push_back(table(n));
  EXPECT_NE(first[0], first[1]);
  for (const int n : {39, 0, 39, 31, 0, 1}) EXPECT_TRUE(SameBits(table(n), first[n])) << n;
}

struct Cache {
  DType kv_dtype;
  bool has_key_bias;
};

struct AppendCase {
  int64_t head_dim;
  int64_t n_heads, n_kv_heads;
  std::vector<std::pair<int64_t, int64_t>> sequences;  // prefix, tokens
};

// The element of the cache next to x that `error` around x allows; int8: within half a step.
double CacheStoreError(DType kv_dtype, double x, double error, double max_abs) {
  if (kv_dtype != DType::kI8) return StoreError(kv_dtype, x, error);
  // A step is max|x| / 127. Scale, reciprocal and product are rounded, each 127 u of a step.
  return max_abs / 254 * (1 + 1e-4) + 0x1p-126;
}

TEST_P(RopeTest, AppendRotatesAndWritesTheTilesOfItsPositionsAlone) {
  const AppendCase cases[] = {
      {64, 3, 1, {{0, 1}}},
      {64, 5, 2, {{127, 2}, {0, 7}, {128, 1}, {5, 0}}},
      {8, 2, 2, {{126, 131}, {1, 64}}},
      {24, 4, 2, {{300, 65}}},
      {80, 2, 1, {{0, 129}, {255, 1}}},
      {128, 8, 1, {{129, 3}}},
      {256, 2, 2, {{1000, 2}}},
      {2, 1, 1, {{3, 5}}},
      {96, 7, 3, {{2, 3}}},
      {16, 33, 1, {{1, 2}}},
  };
  uint64_t seed = 1;
  for (const AppendCase& c : cases) {
    for (const auto [kv_dtype, has_key_bias] :
         {Cache{DType::kF32, false}, Cache{DType::kBF16, false}, Cache{DType::kI8, false},
          Cache{DType::kI8, true}}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << c.head_dim << ", cache "
                                      << DTypeName(kv_dtype) << ", key bias " << has_key_bias);
      std::mt19937_64 random(++seed);
      const KvLayout layout{GroupLayers({0, 0}),
                            c.n_kv_heads,
                            c.head_dim,
                            kv_dtype,
                            kernels().kv_interleave(kv_dtype),
                            has_key_bias};
      int64_t rows = 0, blocks = 0;
      for (const auto& [prefix, n_tokens] : c.sequences) {
        rows += n_tokens;
        blocks += (prefix + n_tokens) / kBlockTokens + 1;
      }
      KvPool pool(backend().device(), layout, {blocks});
      FillWithStale(backend(), pool);

      std::vector<std::unique_ptr<KvCache>> caches;
      std::vector<PendingChunk> chunks;
      std::vector<SequenceRows> sequences;
      std::vector<int64_t> positions;
      for (const auto& [prefix, n_tokens] : c.sequences) {
        caches.push_back(std::make_unique<KvCache>(pool));
        caches.back()->Commit(caches.back()->Begin(prefix));
        chunks.push_back(caches.back()->Begin(n_tokens));
        const auto row_begin = static_cast<int64_t>(positions.size());
        sequences.push_back({row_begin, n_tokens, caches.back()->View(chunks.back(), 1)});
        for (int64_t i = 0; i < n_tokens; ++i) positions.push_back(prefix + i);
      }
      const Matrix table = TableOf(positions, c.head_dim);
      const std::vector<float> cos_sin = table.Get();

      const int64_t cols = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
      std::vector<float> before = Normals(random, rows * cols);
      for (int64_t i = 0; i < cols; ++i) before[static_cast<size_t>(i)] *= 100.0f;  // a loud token
      Matrix qkv(backend(), DType::kF32, rows, cols, cols + 3);
      qkv.Set(before);
      std::vector<int32_t> kv_head_of;
      for (int64_t h = 0; h < c.n_heads; ++h) {
        kv_head_of.push_back(static_cast<int32_t>(h * c.n_kv_heads / c.n_heads));
      }
      AttentionHeads heads{c.n_heads, c.n_kv_heads, c.head_dim, kv_head_of, 1.0f};
      std::vector<int64_t> block_positions = positions;
      for (int64_t& position : block_positions) position -= position % kBlockTokens;
      const Matrix block_table = TableOf(block_positions, c.head_dim);
      const std::vector<float> block_cos_sin = block_table.Get();
      Matrix slot_rope(backend(), DType::kF32, kBlockTokens, c.head_dim);
      Matrix bias(backend(), DType::kF32, 1, c.n_kv_heads * c.head_dim);
      const std::vector<float> key_bias =
          Normals(random, c.n_kv_heads * c.head_dim, has_key_bias ? 200.0f : 0.0f);
      KeyBias taken_out;
      if (has_key_bias) {
        // A hundred times the keys themselves.
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < c.n_kv_heads * c.head_dim; ++j)
            before[static_cast<size_t>(i * cols + c.n_heads * c.head_dim + j)] +=
                key_bias[static_cast<size_t>(j)];
        }
        qkv.Set(before);
        bias.Set(key_bias);
        kernels().FillSlotRope(InverseFrequencies(c.head_dim, 10000.0f), slot_rope.f32());
        heads.slot_rope = slot_rope.f32();
        taken_out = {bias.f32(), block_table.view()};
      }
      // Dim d of a KV head's bias as it is at the first position of a row's block, in double.
      const auto block_bias = [&](int64_t row, int64_t head, int64_t d) {
        const int64_t pair = c.head_dim / 2;
        const float* b = key_bias.data() + head * c.head_dim;
        const float* table_row = block_cos_sin.data() + row * c.head_dim;
        const double along = static_cast<double>(b[d]) * table_row[d % pair];
        const double across =
            static_cast<double>(b[d < pair ? d + pair : d - pair]) * table_row[pair + d % pair];
        return d < pair ? along - across : along + across;
      };
      // A block that was begun by an earlier chunk holds its bias already.
      for (const SequenceRows& sequence : sequences) {
        if (!has_key_bias || sequence.n_tokens == 0 || sequence.view.begin % kBlockTokens == 0)
          continue;
        for (int64_t head = 0; head < c.n_kv_heads; ++head) {
          HeadTiles tiles(backend(), sequence.view, sequence.view.begin / kBlockTokens, head);
          for (int64_t d = 0; d < c.head_dim; ++d)
            tiles.SetKeyBias(d, static_cast<float>(block_bias(sequence.row_begin, head, d)));
          tiles.Store();
        }
      }
      kernels().RopeAppend(qkv.view(), table.view(), heads, sequences, taken_out);
      backend().device().stream().Synchronize();
      EXPECT_TRUE(qkv.OnlyWrote(rows));
      const std::vector<float> after = qkv.Get();

      // x of head `head` (q, then k, then v heads) of a row, rotated; and what f32 may make of it.
      const int64_t half = c.head_dim / 2;
      const auto rotated = [&](int64_t row, int64_t head, int64_t d) {
        const float* x = before.data() + row * cols + head * c.head_dim;
        const float* table_row = cos_sin.data() + row * c.head_dim;
        const double along = static_cast<double>(x[d]) * table_row[d % half];
        const double across =
            static_cast<double>(x[d < half ? d + half : d - half]) * table_row[half + d % half];
        return std::pair(d < half ? along - across : along + across,
                         3 * u * (std::abs(along) + std::abs(across)) + 0x1p-126);
      };
      std::vector<double> want, bounds;
      std::vector<float> got, values_before, values_after;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < c.n_heads * c.head_dim; ++i) {
          const auto [x, error] = rotated(row, i / c.head_dim, i % c.head_dim);
          want.push_back(x);
          bounds.push_back(error);
          got.push_back(after[static_cast<size_t>(row * cols + i)]);
        }
        for (int64_t i = (c.n_heads + c.n_kv_heads) * c.head_dim; i < cols; ++i) {
          values_before.push_back(before[static_cast<size_t>(row * cols + i)]);
          values_after.push_back(after[static_cast<size_t>(row * cols + i)]);
        }
      }
      EXPECT_TRUE(WithinBounds(got, want, bounds)) << "q";
      EXPECT_TRUE(SameBits(values_after, values_before)) << "v of qkv was changed";

      for (const SequenceRows& sequence : sequences) {
        for (int64_t head = 0; head < c.n_kv_heads; ++head) {
          for (int64_t block = 0; block * kBlockTokens < sequence.view.end; ++block) {
            const HeadTiles tiles(backend(), sequence.view, block, head);
            for (int64_t slot = 0; slot < kBlockTokens; ++slot) {
              const int64_t token = block * kBlockTokens + slot - sequence.view.begin;
              if (token < 0 || token >= sequence.n_tokens) continue;
              const int64_t row = sequence.row_begin + token;
              const float* v =
                  before.data() + row * cols + (c.n_heads + c.n_kv_heads + head) * c.head_dim;
              // The bias as the block holds it, turned by the place in it: what is quantised is the
              // key without it.
              const auto turned = [&](int64_t d) {
                if (!has_key_bias) return 0.0;
                const float angle =
                    static_cast<float>(slot) * InverseFrequencies(c.head_dim, 10000.0f)[d % half];
                const double along = tiles.KeyBias(d) * std::cos(static_cast<double>(angle));
                const double across = tiles.KeyBias(d < half ? d + half : d - half) *
                                      std::sin(static_cast<double>(angle));
                return d < half ? along - across : along + across;
              };
              // Rounding of the bias, of its turning, of what is left.
              double bias_error = 0;
              for (int64_t d = 0; has_key_bias && d < c.head_dim; ++d) {
                bias_error =
                    std::max(bias_error, 20 * u * std::abs(static_cast<double>(tiles.KeyBias(d))));
                const double want_bias = block_bias(row, head, d);
                ASSERT_NEAR(tiles.KeyBias(d), want_bias, 1200 * 6 * u) << "dim " << d;
              }
              double k_max = 0, v_max = 0;
              for (int64_t d = 0; d < c.head_dim; ++d) {
                const auto [x, error] = rotated(row, c.n_heads + head, d);
                k_max = std::max(k_max, std::abs(x - turned(d)) + error + bias_error);
                v_max = std::max(v_max, static_cast<double>(std::abs(v[d])));
              }
              if (has_key_bias && row != 0) {
                ASSERT_LT(k_max, 10.0) << "the bias is still in what is quantised";
              }
              for (int64_t d = 0; d < c.head_dim; ++d) {
                const auto [x, error] = rotated(row, c.n_heads + head, d);
                const double key =
                    static_cast<double>(tiles.Key(slot, d)) * tiles.KeyScale(slot) + turned(d);
                ASSERT_LE(std::abs(key - x),
                          error + bias_error + CacheStoreError(kv_dtype, x, error, k_max))
                    << "key " << key << ", want " << x << ", token " << token << ", dim " << d;
                const double value =
                    static_cast<double>(tiles.Value(slot, d)) * tiles.ValueScale(slot);
                if (kv_dtype == DType::kI8) {
                  ASSERT_LE(std::abs(value - v[d]), CacheStoreError(kv_dtype, v[d], 0, v_max))
                      << "value " << value << ", want " << v[d] << ", token " << token;
                } else {
                  ASSERT_EQ(value, kv_dtype == DType::kF32 ? v[d] : RoundToBf16(v[d]))
                      << "token " << token << ", dim " << d;
                }
              }
            }
            // What is left is what FillWithStale wrote.
            for (int64_t slot = 0; slot < kBlockTokens; ++slot) {
              const int64_t token = block * kBlockTokens + slot - sequence.view.begin;
              if (token >= 0 && token < sequence.n_tokens) continue;
              for (int64_t d = 0; d < c.head_dim; ++d) {
                ASSERT_GE(tiles.Key(slot, d), 127.0f) << "position " << block << ":" << slot;
                ASSERT_GE(tiles.Value(slot, d), 127.0f) << "position " << block << ":" << slot;
              }
              if (kv_dtype == DType::kI8) {
                ASSERT_GT(tiles.KeyScale(slot), 3e38f);
                ASSERT_GT(tiles.ValueScale(slot), 3e38f);
              }
            }
          }
        }
        // The layer beside is as it was.
        const auto index = static_cast<size_t>(&sequence - sequences.data());
        const KvView other = caches[index]->View(chunks[index], 0);
        for (int64_t block = 0; block * kBlockTokens < other.end; ++block) {
          const HeadTiles tiles(backend(), other, block, 0);
          for (int64_t slot = 0; slot < kBlockTokens; ++slot) {
            ASSERT_GE(tiles.Key(slot, 0), 127.0f);
            ASSERT_GE(tiles.Value(slot, c.head_dim - 1), 127.0f);
          }
        }
      }
    }
  }
}

// A key of NaN and values of zeros, whichever of the two was odd; what is beside them keeps its
// bits.
TEST_P(RopeTest, WhatIsNotFiniteBecomesAKeyOfNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kTokens = 4, kHurtToken = 2, kHurtHead = 1, kHeads = 2;
  for (const int64_t head_dim : {8, 24, 64, 128, 256}) {
    for (const auto [kv_dtype, has_key_bias] :
         {Cache{DType::kF32, false}, Cache{DType::kBF16, false}, Cache{DType::kI8, false},
          Cache{DType::kI8, true}}) {
      const KvLayout layout{
          GroupLayers({0}), kHeads, head_dim, kv_dtype, kernels().kv_interleave(kv_dtype),
          has_key_bias};
      const int64_t cols = 3 * kHeads * head_dim;
      std::mt19937_64 random(3);
      const std::vector<float> whole = Normals(random, kTokens * cols);
      // Elements that stand for numbers: [token][head][key, value][dim].
      const auto append = [&](const std::vector<float>& rows) {
        KvPool pool(backend().device(), layout, {1});
        FillWithStale(backend(), pool);
        KvCache cache(pool);
        const PendingChunk chunk = cache.Begin(kTokens);
        const std::vector<int64_t> positions = {0, 1, 2, 3};
        const Matrix table = TableOf(positions, head_dim);
        Matrix qkv(backend(), DType::kF32, kTokens, cols);
        qkv.Set(rows);
        const std::vector<int32_t> kv_head_of = {0, 1};
        const SequenceRows sequence{0, kTokens, cache.View(chunk, 0)};
        const std::vector<int64_t> block_positions(kTokens, 0);
        const Matrix block_table = TableOf(block_positions, head_dim);
        Matrix slot_rope(backend(), DType::kF32, kBlockTokens, head_dim);
        Matrix bias(backend(), DType::kF32, 1, kHeads * head_dim);
        AttentionHeads heads{kHeads, kHeads, head_dim, kv_head_of, 1.0f};
        KeyBias key_bias;
        if (has_key_bias) {
          bias.Set(std::vector<float>(static_cast<size_t>(kHeads * head_dim), 7.0f));
          kernels().FillSlotRope(InverseFrequencies(head_dim, 10000.0f), slot_rope.f32());
          heads.slot_rope = slot_rope.f32();
          key_bias = {bias.f32(), block_table.view()};
        }
        kernels().RopeAppend(qkv.view(), table.view(), heads, {&sequence, 1}, key_bias);
        backend().device().stream().Synchronize();
        std::vector<float> held;
        for (int64_t token = 0; token < kTokens; ++token) {
          for (int64_t head = 0; head < kHeads; ++head) {
            const HeadTiles tiles(backend(), sequence.view, 0, head);
            for (int64_t d = 0; d < head_dim; ++d)
              held.push_back(tiles.Key(token, d) * tiles.KeyScale(token));
            for (int64_t d = 0; d < head_dim; ++d)
              held.push_back(tiles.Value(token, d) * tiles.ValueScale(token));
          }
        }
        return held;
      };
      const std::vector<float> want = append(whole);
      for (const bool value : {false, true}) {
        for (const int64_t dim : {int64_t{0}, head_dim / 2 + 1, head_dim - 1}) {
          for (const float odd : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity,
                                  std::numeric_limits<float>::max()}) {
            if (!value && std::isfinite(odd)) continue;  // rotated it may be another
            SCOPED_TRACE(testing::Message()
                         << "head_dim " << head_dim << ", cache " << DTypeName(kv_dtype)
                         << ", value " << value << ", dim " << dim << ", " << odd);
            std::vector<float> hurt = whole;
            const int64_t head = kHeads + (value ? kHeads : 0) + kHurtHead;
            hurt[static_cast<size_t>(kHurtToken * cols + head * head_dim + dim)] = odd;
            const std::vector<float> got = append(hurt);
            for (size_t i = 0; i < got.size(); ++i) {
              const auto at = static_cast<int64_t>(i) / head_dim;  // token, head, key or value
              if (at / 2 != kHurtToken * kHeads + kHurtHead) {
                ASSERT_EQ(got[i], want[i]) << i;
              } else if (at % 2 == 0) {
                ASSERT_TRUE(std::isnan(got[i])) << "key " << got[i];
              } else {
                ASSERT_TRUE(std::isfinite(got[i])) << "value " << got[i];
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(RopeTest, HeadsAreNormedBeforeTheyAreRotated) {
  constexpr int64_t kHeads = 5, kKvHeads = 2, kRows = 6;
  constexpr float kEps = 1e-3f;
  const std::vector<int32_t> kv_head_of = {0, 0, 0, 1, 1};
  const std::vector<int64_t> positions = {0, 1, 2, 3, 4, 5};
  for (const int64_t head_dim : {2, 8, 24, 64, 80, 96, 128, 256}) {
    SCOPED_TRACE(testing::Message() << "head_dim " << head_dim);
    std::mt19937_64 random(static_cast<uint64_t>(head_dim));
    const KvLayout layout{GroupLayers({0}), kKvHeads, head_dim, DType::kF32,
                          kernels().kv_interleave(DType::kF32)};
    const int64_t cols = (kHeads + 2 * kKvHeads) * head_dim;
    std::vector<float> before = Normals(random, kRows * cols);
    for (int64_t i = 0; i < cols; ++i) {
      before[static_cast<size_t>(i)] *= 100.0f;         // a loud token
      before[static_cast<size_t>(cols + i)] *= 0.001f;  // one that eps is seen in
    }
    const Matrix table = TableOf(positions, head_dim);
    const std::vector<float> cos_sin = table.Get();
    const std::vector<float> weights[] = {Normals(random, head_dim), Normals(random, head_dim)};
    Matrix query_norm(backend(), DType::kF32, 1, head_dim),
        key_norm(backend(), DType::kF32, 1, head_dim);
    query_norm.Set(weights[0]);
    key_norm.Set(weights[1]);
    AttentionHeads heads{kHeads, kKvHeads, head_dim, kv_head_of, 1.0f};
    heads.query_norm = query_norm.f32();
    heads.key_norm = key_norm.f32();
    heads.norm_eps = kEps;
    KvPool pool(backend().device(), layout, {1});
    KvCache cache(pool);
    const PendingChunk chunk = cache.Begin(kRows);
    const SequenceRows sequence{0, kRows, cache.View(chunk, 0)};
    Matrix qkv(backend(), DType::kF32, kRows, cols);
    qkv.Set(before);
    kernels().RopeAppend(qkv.view(), table.view(), heads, {&sequence, 1}, {});
    backend().device().stream().Synchronize();
    const std::vector<float> after = qkv.Get();

    std::vector<double> want, bounds;
    std::vector<float> got, values_got, values_want;
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t head = 0; head < kHeads + kKvHeads; ++head) {
        const float* const x = before.data() + row * cols + head * head_dim;
        const std::vector<float>& weight = weights[head < kHeads ? 0 : 1];
        double squares = 0;
        for (int64_t d = 0; d < head_dim; ++d) squares += static_cast<double>(x[d]) * x[d];
        const double factor =
            1 / std::sqrt(squares / static_cast<double>(head_dim) + static_cast<double>(kEps));
        const int64_t half = head_dim / 2;
        for (int64_t d = 0; d < head_dim; ++d) {
          const int64_t across_d = d < half ? d + half : d - half;
          const float* const turn = cos_sin.data() + row * head_dim;
          const auto at = [&](int64_t i) { return weight[static_cast<size_t>(i)]; };
          const double along = at(d) * (x[d] * factor) * turn[d % half];
          const double across = at(across_d) * (x[across_d] * factor) * turn[half + d % half];
          want.push_back(d < half ? along - across : along + across);
          // The sum of squares is off by a roundoff a term at most, its root by half of that;
          // mean, eps, root, reciprocal and two products take one each; then the rotation's.
          const double roundings = static_cast<double>(head_dim) / 2 + 6 + 3;
          bounds.push_back(roundings * u * (std::abs(along) + std::abs(across)) + 0x1p-126);
          got.push_back(head < kHeads
                            ? after[static_cast<size_t>(row * cols + head * head_dim + d)]
                            : HeadTiles(backend(), sequence.view, 0, head - kHeads).Key(row, d));
        }
      }
      for (int64_t i = (kHeads + kKvHeads) * head_dim; i < cols; ++i) {
        const int64_t head = i / head_dim - kHeads - kKvHeads;
        values_got.push_back(HeadTiles(backend(), sequence.view, 0, head).Value(row, i % head_dim));
        values_want.push_back(before[static_cast<size_t>(row * cols + i)]);
      }
    }
    EXPECT_TRUE(WithinBounds(got, want, bounds));
    EXPECT_TRUE(SameBits(values_got, values_want)) << "values are not normed";
  }
}

TEST_P(RopeTest, Int8OfZerosIsZero) {
  const KvLayout layout{GroupLayers({0}), 1, 16, DType::kI8, kernels().kv_interleave(DType::kI8)};
  KvPool pool(backend().device(), layout, {1});
  FillWithStale(backend(), pool);
  KvCache cache(pool);
  const PendingChunk chunk = cache.Begin(2);
  const KvView view = cache.View(chunk, 0);
  const std::vector<int64_t> positions = {0, 1};
  const Matrix table = TableOf(positions, 16);
  Matrix qkv(backend(), DType::kF32, 2, 48);
  qkv.Set(std::vector<float>(96, 0.0f));
  const std::vector<int32_t> kv_head_of = {0};
  const SequenceRows sequence{0, 2, view};
  kernels().RopeAppend(qkv.view(), table.view(), {1, 1, 16, kv_head_of, 1.0f}, {&sequence, 1}, {});
  backend().device().stream().Synchronize();
  const HeadTiles tiles(backend(), view, 0, 0);
  for (int64_t slot = 0; slot < 2; ++slot) {
    for (int64_t d = 0; d < 16; ++d) {
      EXPECT_EQ(tiles.Key(slot, d) * tiles.KeyScale(slot), 0.0f);
      EXPECT_EQ(tiles.Value(slot, d) * tiles.ValueScale(slot), 0.0f);
    }
  }
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(RopeTest);

}  // namespace
}  // namespace kvfold
