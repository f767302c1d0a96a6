#include "tests/runtime/kernels/attention_batch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "tests/runtime/kernels/cache_tiles.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

constexpr int64_t kLayer = 1;  // of two

int64_t BlocksOf(const SequenceData& sequence) {
  return (sequence.end() + kBlockTokens - 1) / kBlockTokens;
}
size_t KeyBiasAt(const SequenceData& sequence, int64_t head_dim, int64_t kv_head, int64_t block) {
  return static_cast<size_t>((kv_head * BlocksOf(sequence) + block) * head_dim);
}

// A model's frequencies, of pairs of dims.
std::vector<float> InverseFrequencies(int64_t head_dim) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    inv_freq.push_back(
        std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(head_dim)));
  }
  return inv_freq;
}

// Writes positions [begin, end) of one sequence into its tiles.
void WritePositions(Backend& backend, const KvView& view, const SequenceData& sequence,
                    int64_t begin, int64_t end) {
  const int64_t head_dim = view.layout->head_dim;
  const bool scaled = view.layout->dtype == DType::kI8;
  for (int64_t head = 0; head < view.layout->n_kv_heads; ++head) {
    for (int64_t block = begin / kBlockTokens; block * kBlockTokens < end; ++block) {
      HeadTiles tiles(backend, view, block, head);
      const int64_t base = block * kBlockTokens;
      for (int64_t position = std::max(begin, base); position < std::min(end, base + kBlockTokens);
           ++position) {
        const auto row = static_cast<size_t>(head * sequence.end() + position);
        const float k_scale = sequence.k_scales[row], v_scale = sequence.v_scales[row];
        tiles.SetScales(position - base, k_scale, v_scale);
        for (int64_t d = 0; view.layout->has_key_bias && d < head_dim; ++d) {
          tiles.SetKeyBias(d, sequence.key_bias[KeyBiasAt(sequence, head_dim, head, block) +
                                                static_cast<size_t>(d)]);
        }
        for (int64_t d = 0; d < head_dim; ++d) {
          const size_t at = row * static_cast<size_t>(head_dim) + static_cast<size_t>(d);
          tiles.SetKey(position - base, d, sequence.keys[at] * (scaled ? 1 : k_scale));
          tiles.SetValue(position - base, d, sequence.values[at] * (scaled ? 1 : v_scale));
        }
      }
      tiles.Store();
    }
  }
}

}  // namespace

float BatchShape::softmax_scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }

std::vector<SequenceData> MakeSequences(const BatchShape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int> whole(-127, 127), exponent(-8, -6);
  std::vector<SequenceData> sequences;
  for (const auto& [prefix, n_tokens] : shape.sequences) {
    SequenceData s;
    s.prefix = prefix;
    s.n_tokens = n_tokens;
    const int64_t rows = shape.n_kv_heads() * s.end();
    for (int64_t i = 0; i < rows * shape.head_dim; ++i) {
      s.keys.push_back(static_cast<float>(whole(random)));
      s.values.push_back(static_cast<float>(whole(random)));
    }
    for (int64_t i = 0; i < rows; ++i) {
      s.k_scales.push_back(std::ldexp(1.0f, exponent(random)));
      s.v_scales.push_back(std::ldexp(1.0f, exponent(random)));
    }
    if (shape.key_bias) {
      s.key_bias = Normals(random, shape.n_kv_heads() * BlocksOf(s) * shape.head_dim, 4.0f);
    }
    // Keys have a root mean square of about 0.75: a whole number of 127 has 73, times 2^-8 to 2^-6.
    s.q =
        Normals(random, n_tokens * shape.n_heads() * shape.head_dim, shape.score_deviation / 0.75f);
    if (shape.dominant_key) {
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t h = 0; h < shape.n_heads(); ++h) {
          const int64_t key = std::uniform_int_distribution<int64_t>(0, s.prefix + t)(random);
          const auto row =
              static_cast<size_t>(shape.kv_head_of[static_cast<size_t>(h)] * s.end() + key);
          const float* k = s.keys.data() + row * static_cast<size_t>(shape.head_dim);
          float* q = s.q.data() + (t * shape.n_heads() + h) * shape.head_dim;
          float norm = 0;
          for (int64_t d = 0; d < shape.head_dim; ++d) norm += k[d] * k[d] * s.k_scales[row];
          for (int64_t d = 0; d < shape.head_dim; ++d) {
            q[d] = 0.01f * q[d] + 60.0f * k[d] / (norm * shape.softmax_scale());
          }
        }
      }
    }
    sequences.push_back(std::move(s));
  }
  return sequences;
}

std::vector<AttentionOutput> RunAttention(Backend& backend, DType kv_dtype, const BatchShape& shape,
                                          const std::vector<SequenceData>& sequences,
                                          const std::vector<size_t>& which) {
  Kernels& kernels = backend.kernels();
  const KvLayout layout{
      GroupLayers({shape.window, shape.window}), shape.n_kv_heads(), shape.head_dim, kv_dtype,
      kernels.kv_interleave(kv_dtype),           shape.key_bias};
  int64_t blocks = 0, rows = 0;
  for (const size_t i : which) {
    blocks += sequences[i].end() / kBlockTokens + 1;
    rows += sequences[i].n_tokens;
  }
  KvPool pool(backend.device(), layout, {blocks});
  FillWithStale(backend, pool);

  std::vector<std::unique_ptr<KvCache>> caches;
  std::vector<PendingChunk> chunks;
  std::vector<SequenceRows> batch;
  std::vector<float> qkv_rows;
  const int64_t q_cols = shape.n_heads() * shape.head_dim;
  const int64_t qkv_cols = q_cols + 2 * shape.n_kv_heads() * shape.head_dim;
  int64_t row_begin = 0;
  for (const size_t i : which) {
    const SequenceData& sequence = sequences[i];
    caches.push_back(std::make_unique<KvCache>(pool));
    KvCache& cache = *caches.back();
    PendingChunk prefix = cache.Begin(sequence.prefix);
    WritePositions(backend, cache.View(prefix, kLayer), sequence, 0, sequence.prefix);
    cache.Commit(std::move(prefix));
    cache.DropOutOfSight();
    chunks.push_back(cache.Begin(sequence.n_tokens));
    const KvView view = cache.View(chunks.back(), kLayer);
    WritePositions(backend, view, sequence, sequence.prefix, sequence.end());
    batch.push_back({row_begin, sequence.n_tokens, view});
    row_begin += sequence.n_tokens;
    for (int64_t t = 0; t < sequence.n_tokens; ++t) {
      qkv_rows.insert(qkv_rows.end(), sequence.q.begin() + t * q_cols,
                      sequence.q.begin() + (t + 1) * q_cols);
      // Keys and values are read from the cache, not from here.
      qkv_rows.insert(qkv_rows.end(), static_cast<size_t>(qkv_cols - q_cols),
                      std::numeric_limits<float>::quiet_NaN());
    }
  }

  Matrix qkv(backend, DType::kF32, rows, qkv_cols);
  Matrix out(backend, kernels.activation_dtype(), rows, q_cols, q_cols + 8);
  Matrix lse(backend, DType::kF32, rows, shape.n_heads());
  qkv.Set(qkv_rows);
  Matrix slot_rope(backend, DType::kF32, kBlockTokens, shape.head_dim);
  AttentionHeads heads{shape.n_heads(),  shape.n_kv_heads(),    shape.head_dim,
                       shape.kv_head_of, shape.softmax_scale(), shape.score_cap};
  if (shape.key_bias) {
    kernels.FillSlotRope(InverseFrequencies(shape.head_dim), slot_rope.f32());
    heads.slot_rope = slot_rope.f32();
  }
  const GuardedBytes scratch(backend,
                             kernels.ScratchBytes(heads, static_cast<int64_t>(which.size())));
  kernels.Attention(qkv.view(), heads, batch, scratch.span(), out.view(), lse.f32());
  backend.device().stream().Synchronize();
  EXPECT_TRUE(qkv.OnlyWrote(rows));
  EXPECT_TRUE(out.OnlyWrote(rows));
  EXPECT_TRUE(lse.OnlyWrote(rows));
  EXPECT_TRUE(scratch.GuardsIntact());

  // Without the log-sum-exp the results are the same.
  Matrix out_alone(backend, kernels.activation_dtype(), rows, q_cols, q_cols + 8);
  kernels.Attention(qkv.view(), heads, batch, scratch.span(), out_alone.view(), nullptr);
  backend.device().stream().Synchronize();
  const std::vector<float> all_out = out.Get(), all_lse = lse.Get();
  EXPECT_TRUE(SameBits(out_alone.Get(), all_out));

  std::vector<AttentionOutput> outputs;
  for (const SequenceRows& sequence : batch) {
    const auto part = [&](const std::vector<float>& from, int64_t cols) {
      return std::vector<float>(from.begin() + sequence.row_begin * cols,
                                from.begin() + (sequence.row_begin + sequence.n_tokens) * cols);
    };
    outputs.push_back({part(all_out, q_cols), part(all_lse, shape.n_heads())});
  }
  return outputs;
}

double TurnedKeyBias(const BatchShape& shape, const SequenceData& sequence, int64_t kv_head,
                     int64_t position, int64_t dim) {
  if (!shape.key_bias) return 0;
  const int64_t half = shape.head_dim / 2;
  const float* const bias = sequence.key_bias.data() +
                            KeyBiasAt(sequence, shape.head_dim, kv_head, position / kBlockTokens);
  const auto place = static_cast<float>(position % kBlockTokens);
  const double angle = place * InverseFrequencies(shape.head_dim)[static_cast<size_t>(dim % half)];
  return dim < half ? bias[dim] * std::cos(angle) - bias[dim + half] * std::sin(angle)
                    : bias[dim] * std::cos(angle) + bias[dim - half] * std::sin(angle);
}

AttentionRow ReferenceRow(const BatchShape& shape, const SequenceData& sequence, int64_t token,
                          int64_t head) {
  const int64_t kv_head = shape.kv_head_of[static_cast<size_t>(head)];
  const int64_t position = sequence.prefix + token;
  const int64_t oldest = shape.window == 0 ? 0 : std::max<int64_t>(0, position - shape.window + 1);
  std::vector<double> keys, values;
  for (int64_t seen = oldest; seen <= position; ++seen) {
    const auto row = static_cast<size_t>(kv_head * sequence.end() + seen);
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      const size_t at = row * static_cast<size_t>(shape.head_dim) + static_cast<size_t>(d);
      keys.push_back(static_cast<double>(sequence.keys[at]) * sequence.k_scales[row] +
                     TurnedKeyBias(shape, sequence, kv_head, seen, d));
      values.push_back(static_cast<double>(sequence.values[at]) * sequence.v_scales[row]);
    }
  }
  const auto q_begin = static_cast<size_t>((token * shape.n_heads() + head) * shape.head_dim);
  return AttendRow(std::span(sequence.q).subspan(q_begin, static_cast<size_t>(shape.head_dim)),
                   keys, values, shape.softmax_scale(), shape.score_cap);
}

}  // namespace kvfold
