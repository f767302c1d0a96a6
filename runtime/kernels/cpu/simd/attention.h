// runtime/kernels/cpu/simd/attention.h: one row tile of blocked attention with running maximum and
// sum (FlashAttention, arXiv:2205.14135, algorithm 1, by blocks of keys).
#pragma once

#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/cpu/simd/micro_gemm.h"
#include "shard/kv_layout.h"

namespace kvfold::cpu {
namespace {

inline constexpr int64_t kKeys = kBlockTokens;

template <typename Element>
struct AttentionScratch {
  Element* q;       // [kRowTile][head_dim], scaled
  float* scores;    // [kSubTile][kKeys]
  Element* probs;   // [kSubTile][kKeys]; the scores themselves in f32
  float* sums;      // [kRowTile][head_dim]: sum of p v, not normalised
  float* row_max;   // [kRowTile], of scores times log2(e)
  float* row_sum;   // [kRowTile]
  Element* k_tile;  // dequantised
  Element* v_tile;

  AttentionScratch(std::byte* memory, int64_t head_dim) {
    const auto take = [&memory](int64_t bytes) {
      std::byte* taken = memory;
      memory += (bytes + 63) / 64 * 64;
      return taken;
    };
    q = reinterpret_cast<Element*>(take(kRowTile * head_dim * 4));
    scores = reinterpret_cast<float*>(take(kSubTile * kKeys * 4));
    std::byte* const narrow = take(kSubTile * kKeys * 2);
    probs = sizeof(Element) == 4 ? reinterpret_cast<Element*>(scores)
                                 : reinterpret_cast<Element*>(narrow);
    sums = reinterpret_cast<float*>(take(kRowTile * head_dim * 4));
    row_max = reinterpret_cast<float*>(take(kRowTile * 4));
    row_sum = reinterpret_cast<float*>(take(kRowTile * 4));
    k_tile = reinterpret_cast<Element*>(take(kKeys * head_dim * 4));
    v_tile = reinterpret_cast<Element*>(take(kKeys * head_dim * 4));
  }
};

KVFOLD_INLINE void StoreElement(float* p, F32v v) { Store(p, v); }
KVFOLD_INLINE void StoreElement(uint16_t* p, F32v v) { StoreBf16(p, v); }
KVFOLD_INLINE void StoreElement(float* p, float x) { *p = x; }
KVFOLD_INLINE void StoreElement(uint16_t* p, float x) { *p = Bf16Of(x); }

// Tiles keep their layout; only elements change. int8 stays a whole number here: its scales go to
// scores and probabilities.
KVFOLD_INLINE const float* TileOf(const std::byte* tile, DType dtype, int64_t n, float* out) {
  if (dtype == DType::kF32) return reinterpret_cast<const float*>(tile);
  if (dtype == DType::kBF16) {
    const auto* in = reinterpret_cast<const uint16_t*>(tile);
    for (int64_t i = 0; i < n; ++i) out[i] = F32Of(in[i]);
  } else {
    const auto* in = reinterpret_cast<const int8_t*>(tile);
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]);
  }
  return out;
}
KVFOLD_INLINE const uint16_t* TileOf(const std::byte* tile, DType dtype, int64_t n, uint16_t* out) {
  if (dtype == DType::kBF16) return reinterpret_cast<const uint16_t*>(tile);
  const auto* in = reinterpret_cast<const int8_t*>(tile);
  for (int64_t i = 0; i < n; ++i) {  // exact: |x| <= 127 has 7 bits
    const float x = static_cast<float>(in[i]);
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    out[i] = static_cast<uint16_t>(bits >> 16);
  }
  return out;
}

// An int8 K tile with the key bias of its block put back, scales applied: out = in * scale[t] + the
// bias turned by t (shard/kv_layout.h). f32: interleave 1, bf16: 2; rounded once.
KVFOLD_INLINE const float* BiasedKeys(const std::byte* tile, const float* scales, const float* bias,
                                      const float* slot_rope, int64_t head_dim, float* out) {
  const auto* in = reinterpret_cast<const int8_t*>(tile);
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float* const cosine = slot_rope + i * kKeys;
    const float* const sine = cosine + half * kKeys;
    const float low = bias[i], high = bias[half + i];
    const int64_t at = i * kKeys;
    const int64_t beyond = at + half * kKeys;
    for (int64_t t = 0; t < kKeys; ++t) {
      out[at + t] = static_cast<float>(in[at + t]) * scales[t] + (low * cosine[t] - high * sine[t]);
      out[beyond + t] =
          static_cast<float>(in[beyond + t]) * scales[t] + (high * cosine[t] + low * sine[t]);
    }
  }
  return out;
}
KVFOLD_INLINE uint32_t RoundedBf16(float x) {  // finite; to nearest, ties to even
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
KVFOLD_INLINE const uint16_t* BiasedKeys(const std::byte* tile, const float* scales,
                                         const float* bias, const float* slot_rope,
                                         int64_t head_dim, uint16_t* out) {
  const auto* in = reinterpret_cast<const int8_t*>(tile);
  const int64_t half = head_dim / 2;
  // Dims i, i + 1 of a key lie side by side: both elements of a pair are written by one loop.
  const auto put = [&](int64_t dim, auto&& turned, auto&& turned_next) {
    const int8_t* const from = in + dim * kKeys;
    uint16_t* const to = out + dim * kKeys;
    for (int64_t t = 0; t < kKeys; ++t) {
      to[2 * t] = static_cast<uint16_t>(
          RoundedBf16(static_cast<float>(from[2 * t]) * scales[t] + turned(t)));
      to[2 * t + 1] = static_cast<uint16_t>(
          RoundedBf16(static_cast<float>(from[2 * t + 1]) * scales[t] + turned_next(t)));
    }
  };
  const auto turned = [&](int64_t dim) {  // the bias of `dim`, by place
    const bool is_low = dim < half;
    const int64_t i = is_low ? dim : dim - half;
    const float* const cosine = slot_rope + i * kKeys;
    const float* const sine = cosine + half * kKeys;
    const float along = bias[dim], across = is_low ? -bias[half + i] : bias[i];
    return [=](int64_t t) { return along * cosine[t] + across * sine[t]; };
  };
  for (int64_t dim = 0; dim < head_dim; dim += 2) put(dim, turned(dim), turned(dim + 1));
  return out;
}

// Soft-capped scores of one row, int8 keys' scales included; n is a multiple of kLanes.
KVFOLD_INLINE void CapRow(float* scores, int64_t n, const float* k_scales, float cap) {
  for (int64_t j = 0; j < n; j += kLanes) {
    F32v score = Load(scores + j);
    if (k_scales != nullptr) score *= Load(k_scales + j);
    Store(scores + j, cap * Tanh(score));
  }
}

struct Ones {
  alignas(64) float of[kKeys];
  constexpr Ones() : of() {
    for (float& one : of) one = 1.0f;
  }
};
inline constexpr Ones kOnes;

// Scores of one row against one block -> probabilities; updates the row's running maximum and sum
// and rescales its sums. Only columns [valid_begin, valid_end) count; all of [0, n) are written; n
// is a multiple of kLanes.
template <typename Element, bool kScaled>
KVFOLD_INLINE void SoftmaxRow(float* scores, Element* probs, int64_t n, int64_t valid_begin,
                              int64_t valid_end, const float* k_scales, const float* v_scales,
                              float* row_max, float* row_sum, float* sums, int64_t head_dim) {
  constexpr int kDegree = sizeof(Element) == 4 ? 5 : 3;
  const bool masked = valid_begin > 0 || valid_end < n;
  if (masked) {
    for (int64_t j = 0; kScaled && j < n; j += kLanes)
      Store(scores + j, Load(scores + j) * Load(k_scales + j));
    for (int64_t j = 0; j < valid_begin; ++j) scores[j] = -__builtin_inff();
    for (int64_t j = Larger<int64_t>(valid_end, 0); j < n; ++j) scores[j] = -__builtin_inff();
    if (valid_begin >= valid_end) {
      for (int64_t j = 0; j < n; j += kLanes) StoreElement(probs + j, F32v{});
      return;
    }
  }
  F32v best = Splat(-__builtin_inff());
  for (int64_t j = 0; j < n; j += kLanes) {
    F32v score = Load(scores + j);
    if (kScaled && !masked) {
      score *= Load(k_scales + j);
      Store(scores + j, score);
    }
    best = Max(best, score);
  }
  const float block_max = ReduceMax(best);
  const float old_max = *row_max;
  if (block_max > old_max) {
    *row_max = block_max;
    const F32v correction = Exp2<5>(Splat(old_max - block_max));
    *row_sum *= correction[0];
    int64_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) Store(sums + d, Load(sums + d) * correction);
    for (; d < head_dim; ++d) sums[d] *= correction[0];
  }
  const F32v shift = Splat(*row_max);
  F32v total{};
  for (int64_t j = 0; j < n; j += kLanes) {
    F32v p = Exp2<kDegree>(Load(scores + j) - shift);
    total += p;
    if constexpr (kScaled) p *= Load(v_scales + j);
    StoreElement(probs + j, p);
  }
  *row_sum += ReduceAdd(total);
  if (masked) {  // Exp2 ends at 2^-125, a masked probability is zero
    for (int64_t j = 0; j < valid_begin; ++j) StoreElement(probs + j, 0.0f);
    for (int64_t j = valid_end; j < n; ++j) StoreElement(probs + j, 0.0f);
  }
}

template <typename Element>
KVFOLD_INLINE void WriteRow(Element* out, const float* sums, float factor, int64_t head_dim) {
  int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) StoreElement(out + d, Load(sums + d) * factor);
  for (; d < head_dim; ++d) StoreElement(out + d, sums[d] * factor);
}

template <typename Products>
void AttentionTile(const AttentionArgs& args) {
  using Element = typename Products::Element;
  constexpr float kLn2 = 0.6931471805599453f;
  const int64_t head_dim = args.head_dim;
  const int64_t rows = args.row_end - args.row_begin;
  const AttentionScratch<Element> s(args.scratch, head_dim);

  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = args.row_begin + r;
    const float* q = args.q + row / args.group * args.q_stride + row % args.group * head_dim;
    for (int64_t d = 0; d < head_dim; ++d)
      StoreElement(s.q + r * head_dim + d, q[d] * args.score_scale);
    for (int64_t d = 0; d < head_dim; ++d) s.sums[r * head_dim + d] = 0.0f;
    s.row_max[r] = -__builtin_inff();
    s.row_sum[r] = 0.0f;
  }

  // Positions of the tile's first and last token; keys that any of its rows sees.
  const int64_t first = args.first_position + args.row_begin / args.group;
  const int64_t last = args.first_position + (args.row_end - 1) / args.group;
  const int64_t window_begin = args.window > 0 ? Larger<int64_t>(0, first - args.window + 1) : 0;
  const int64_t begin = Larger(args.key_begin, window_begin);
  const int64_t end = Smaller(args.key_end, last + 1);

  const bool scaled = args.kv_dtype == DType::kI8;
  const bool biased = args.slot_rope != nullptr;
  const bool capped = args.score_cap > 0.0f;
  for (int64_t block = begin / kKeys; block * kKeys < end; ++block) {
    const int64_t base = block * kKeys;
    const std::byte* head = args.blocks[block - args.first_block] + args.head_offset_bytes;
    const int64_t elements = kKeys * head_dim;
    const auto* k_scales = reinterpret_cast<const float*>(head + 2 * args.tile_bytes);
    const float* v_scales = k_scales + kKeys;
    const Element* k_tile =
        biased ? BiasedKeys(head, k_scales, v_scales + kKeys, args.slot_rope, head_dim, s.k_tile)
               : TileOf(head, args.kv_dtype, elements, s.k_tile);
    const Element* v_tile = TileOf(head + args.tile_bytes, args.kv_dtype, elements, s.v_tile);

    for (int64_t sub = 0; sub < rows; sub += kSubTile) {
      const int64_t sub_rows = Smaller(kSubTile, rows - sub);
      const int64_t sub_first = args.first_position + (args.row_begin + sub) / args.group;
      const int64_t sub_last =
          args.first_position + (args.row_begin + sub + sub_rows - 1) / args.group;
      const int64_t sub_begin =
          args.window > 0 ? Larger(begin, sub_first - args.window + 1) : begin;
      const int64_t n_keys = Smaller(kKeys, Smaller(end, sub_last + 1) - base);
      if (n_keys <= 0 || base + kKeys <= sub_begin) continue;  // no row sees any of the block
      const int64_t n = (n_keys + kLanes - 1) / kLanes * kLanes;
      Gemm<Products>(s.q + sub * head_dim, head_dim, k_tile, kKeys, sub_rows, n, head_dim, s.scores,
                     kKeys, false);
      const bool all_visible = base >= sub_begin && n == n_keys && base + n_keys - 1 <= sub_first &&
                               (args.window == 0 || base > sub_last - args.window);
      for (int64_t r = 0; r < sub_rows; ++r) {
        int64_t valid_begin = 0;
        int64_t valid_end = n;
        if (!all_visible) {
          const int64_t position = args.first_position + (args.row_begin + sub + r) / args.group;
          valid_end = Smaller(n_keys, position + 1 - base);
          valid_begin = Larger<int64_t>(0, args.key_begin - base);
          if (args.window > 0) valid_begin = Larger(valid_begin, position - args.window + 1 - base);
          valid_begin = Smaller(valid_begin, n);
          valid_end = Larger<int64_t>(valid_end, 0);
        }
        float* const scores = s.scores + r * kKeys;
        Element* const probs = s.probs + r * kKeys;
        float* const sums = s.sums + (sub + r) * head_dim;
        if (capped) CapRow(scores, n, scaled ? k_scales : nullptr, args.score_cap);
        if (scaled) {
          SoftmaxRow<Element, true>(scores, probs, n, valid_begin, valid_end,
                                    capped || biased ? kOnes.of : k_scales, v_scales,
                                    s.row_max + sub + r, s.row_sum + sub + r, sums, head_dim);
        } else {
          SoftmaxRow<Element, false>(scores, probs, n, valid_begin, valid_end, nullptr, nullptr,
                                     s.row_max + sub + r, s.row_sum + sub + r, sums, head_dim);
        }
      }
      Gemm<Products>(s.probs, kKeys, v_tile, head_dim, sub_rows, head_dim, (n_keys + 1) / 2 * 2,
                     s.sums + sub * head_dim, head_dim, true);
    }
  }

  for (int64_t r = 0; r < rows; ++r) {
    const float* sums = s.sums + r * head_dim;
    if (args.partial != nullptr) {
      float* out = args.partial + r * (head_dim + 2);
      for (int64_t d = 0; d < head_dim; ++d) out[d] = sums[d];
      out[head_dim] = s.row_max[r];
      out[head_dim + 1] = s.row_sum[r];
      continue;
    }
    const int64_t row = args.row_begin + r;
    const int64_t at = row / args.group * args.out_stride + row % args.group * head_dim;
    const float factor = 1.0f / s.row_sum[r];
    if (args.out_dtype == DType::kF32) {
      WriteRow(static_cast<float*>(args.out) + at, sums, factor, head_dim);
    } else {
      WriteRow(static_cast<uint16_t*>(args.out) + at, sums, factor, head_dim);
    }
    if (args.lse != nullptr) {
      args.lse[row / args.group * args.lse_stride + row % args.group] =
          (s.row_max[r] + __builtin_log2f(s.row_sum[r])) * kLn2;
    }
  }
}

}  // namespace
}  // namespace kvfold::cpu
