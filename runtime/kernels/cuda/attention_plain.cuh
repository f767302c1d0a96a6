// runtime/kernels/cuda/attention_plain.cuh: attention over the block table written plainly, in f32,
// for any head_dim to 256 and any cache: the device's own reference, and what --dtype f32 runs.
// After ptx.h.
#pragma once

#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/elements.cuh"

namespace kvfold::cuda {

// A block takes the rows of one item, each warp every fourth; a step is 32 keys, a lane each, then
// all lanes weight those keys' values, some dims each.
inline constexpr int kPlainWarps = 4;
inline constexpr int kPlainHeadDim = 256;
inline constexpr int kPlainSharedBytes = kPlainWarps * (kPlainHeadDim + 32) * 4;

// Element i of a tile of the cache, without its scale.
template <DType kDtype>
KVFOLD_DEVICE float CacheElement(const unsigned char* tile, int64_t i) {
  if constexpr (kDtype == DType::kF32) return ptx::Load(reinterpret_cast<const float*>(tile) + i);
  if constexpr (kDtype == DType::kBF16) {
    return LoadWide(reinterpret_cast<const uint16_t*>(tile) + i);
  }
  return static_cast<float>(ptx::Load(reinterpret_cast<const int8_t*>(tile) + i));
}

template <DType kDtype>
KVFOLD_DEVICE void AttentionPlainBody(const AttentionArgs& args) {
  const AttentionItem item = args.items[ptx::BlockX()];
  const BatchSequence sequence = args.sequences[item.sequence];
  const int warp = ptx::ThreadX() / 32;
  const int lane = ptx::ThreadX() % 32;
  float* const q = reinterpret_cast<float*>(ptx::Shared()) + warp * (kPlainHeadDim + 32);
  float* const probabilities = q + kPlainHeadDim;
  constexpr int kTokens = static_cast<int>(kBlockTokens);

  for (int packed = item.row_begin + warp; packed < item.row_end; packed += kPlainWarps) {
    const int64_t row = sequence.row_begin + packed / item.group;
    const int head = item.first_head + packed % item.group;
    const KeyRange seen = VisibleKeys(sequence.begin + packed / item.group, sequence.window);
    for (int d = lane; d < args.head_dim; d += 32) {
      ptx::StoreShared(
          q + d, LoadWide(args.q, args.q_dtype,
                          row * args.q_stride + static_cast<int64_t>(head) * args.head_dim + d));
    }
    ptx::SyncWarp();

    float max = ptx::FloatOf(0xff800000u);
    float sum = 0.0f;
    float out[kPlainHeadDim / 32] = {};
    for (int base = seen.begin / 32 * 32; base < seen.end; base += 32) {
      const unsigned char* const keys =
          args.blocks[sequence.table_begin + base / kTokens - sequence.first_block] +
          args.layer_offset_bytes + item.kv_head * args.head_bytes;
      const unsigned char* const values = keys + args.tile_bytes;
      const float* const scales = reinterpret_cast<const float*>(keys + 2 * args.tile_bytes);
      const int slot = base % kTokens + lane;
      const bool is_seen = base + lane >= seen.begin && base + lane < seen.end;

      float score = ptx::FloatOf(0xff800000u);
      if (is_seen) {
        float product = 0.0f;
        for (int d = 0; d < args.head_dim; ++d) {
          product += ptx::LoadShared(q + d) *
                     CacheElement<kDtype>(keys, static_cast<int64_t>(slot) * args.head_dim + d);
        }
        if constexpr (kDtype == DType::kI8) {
          product *= ptx::Load(scales + slot);
          if (args.slot_rope != nullptr) {
            for (int d = 0; d < args.head_dim; ++d) {
              product += ptx::LoadShared(q + d) *
                         TurnedBias(scales + 2 * kTokens,
                                    args.slot_rope + static_cast<int64_t>(slot) * args.head_dim,
                                    args.head_dim / 2, d);
            }
          }
        }
        score = product * args.score_scale;
        if (args.score_cap > 0.0f) score = args.score_cap * Tanh(score);
      }
      const float top = ptx::Max(max, WarpMax(score));
      // Scores that are not numbers leave the maximum where it was, perhaps nowhere.
      const float held = top == ptx::FloatOf(0xff800000u) ? 0.0f : top;
      const float probability = is_seen ? ptx::Exp2(score - held) : 0.0f;
      const float shrink = ptx::Exp2(max - held);
      max = top;
      sum = sum * shrink + WarpSum(probability);
      float weight = probability;
      if constexpr (kDtype == DType::kI8) {
        if (is_seen) weight *= ptx::Load(scales + kTokens + slot);
      }
      ptx::StoreShared(probabilities + lane, weight);
      ptx::SyncWarp();
#pragma unroll
      for (int i = 0; i < kPlainHeadDim / 32; ++i) {
        const int d = i * 32 + lane;
        if (d >= args.head_dim) continue;
        float x = out[i] * shrink;
        const int end = Least(32, seen.end - base);
        for (int j = Most(0, seen.begin - base); j < end; ++j) {
          x += ptx::LoadShared(probabilities + j) *
               CacheElement<kDtype>(values,
                                    static_cast<int64_t>(base % kTokens + j) * args.head_dim + d);
        }
        out[i] = x;
      }
      ptx::SyncWarp();  // before the probabilities, and at last q, are written anew
    }
#pragma unroll
    for (int i = 0; i < kPlainHeadDim / 32; ++i) {
      const int d = i * 32 + lane;
      if (d < args.head_dim) {
        StoreWide(args.out, args.out_dtype,
                  row * args.out_stride + static_cast<int64_t>(head) * args.head_dim + d,
                  out[i] / sum);
      }
    }
    if (args.log_sum_exp != nullptr && lane == 0) {
      ptx::Store(args.log_sum_exp + row * args.n_heads + head,
                 (max + ptx::Log2(sum)) * 0.693147180559945f);
    }
  }
}

}  // namespace kvfold::cuda
