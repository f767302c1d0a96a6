// runtime/kernels/cuda/rope.cuh: rotations, and keys and values on their way into the cache. After
// ptx.h.
#pragma once

#include "runtime/kernels/cuda/elements.cuh"
#include "runtime/kernels/cuda/row_args.h"

namespace kvfold::cuda {

inline constexpr int kRopeWarps = 8;
inline constexpr int kMostRopePairs = 4;  // of dims that a lane holds: head_dim to 256

// Block x: row x. Angles as a float product, their functions in double: exact to the last bit of
// f32 however far out the position is.
KVFOLD_DEVICE void RopeTableBody(const RopeTableArgs& args) {
  const int64_t row = ptx::BlockX();
  const float position = static_cast<float>(ptx::Load(args.positions + row));
  float* const out = args.out + row * args.out_stride;
  for (int i = ptx::ThreadX(); i < args.half; i += ptx::BlockDimX()) {
    const double angle = position * ptx::Load(args.inv_freq + i);
    ptx::Store(out + i, static_cast<float>(ptx::Cos(angle)));
    ptx::Store(out + args.half + i, static_cast<float>(ptx::Sin(angle)));
  }
}

// A head of one row in the registers of a warp: lane l holds dims l, l + 32, ... of the lower half
// and the same of the upper one, so that both parts of a rotation meet in a lane and neighbouring
// lanes touch neighbouring elements.
struct HeadInLanes {
  float low[kMostRopePairs];
  float high[kMostRopePairs];
};

// Writes a head into row `slot` of a tile, and for int8 its scale: |x - q scale| <= max|x| / 254.
KVFOLD_DEVICE void StoreCacheRow(const RopeAppendArgs& args, const HeadInLanes& head,
                                 unsigned char* tile, float* scale_at, int slot, int lane) {
  const int half = args.head_dim / 2;
  const int64_t first = static_cast<int64_t>(slot) * args.head_dim;
  float inverse = 1.0f;
  if (args.kv_dtype == DType::kI8) {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kMostRopePairs; ++i) {
      if (i * 32 + lane < half) {
        largest = ptx::Max(largest, ptx::Max(ptx::Abs(head.low[i]), ptx::Abs(head.high[i])));
      }
    }
    largest = WarpMax(largest);
    inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    if (lane == 0) ptx::Store(scale_at + slot, largest / 127.0f);
  }
#pragma unroll
  for (int i = 0; i < kMostRopePairs; ++i) {
    if (i * 32 + lane >= half) continue;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float x = part == 0 ? head.low[i] : head.high[i];
      const int64_t at = first + part * half + i * 32 + lane;
      if (args.kv_dtype == DType::kI8) {
        const float whole = ptx::RoundToInteger(x * inverse);
        const float held = whole > 127.0f ? 127.0f : (whole < -127.0f ? -127.0f : whole);
        ptx::Store(reinterpret_cast<int8_t*>(tile) + at, static_cast<int8_t>(held));
      } else {
        StoreWide(tile, args.kv_dtype, at, x);
      }
    }
  }
}

// Block (x, y): heads [8 y, 8 y + 8) of row x, a warp each: query heads are rotated where they are,
// key heads rotated into the cache, value heads copied there.
template <typename Qkv>
KVFOLD_DEVICE void RopeAppendBody(const RopeAppendArgs& args) {
  const int head = ptx::BlockY() * kRopeWarps + ptx::ThreadX() / 32;
  const int lane = ptx::ThreadX() % 32;
  const int n_heads = args.n_heads + 2 * args.n_kv_heads;
  const int64_t row = ptx::BlockX();
  const int sequence_index = ptx::Load(args.sequence_of + row);
  if (head >= n_heads || sequence_index < 0) return;
  const int half = args.head_dim / 2;
  Qkv* const data = static_cast<Qkv*>(args.qkv) + row * args.qkv_stride +
                    static_cast<int64_t>(head) * args.head_dim;
  const float* const cosines = args.rope + row * args.rope_stride;
  const bool is_value = head >= args.n_heads + args.n_kv_heads;

  HeadInLanes x;
#pragma unroll
  for (int i = 0; i < kMostRopePairs; ++i) {
    const int d = i * 32 + lane;
    x.low[i] = x.high[i] = 0.0f;
    if (d >= half) continue;
    const float low = LoadWide(data + d);
    const float high = LoadWide(data + half + d);
    x.low[i] = low;
    x.high[i] = high;
    if (is_value) continue;
    const float cosine = ptx::Load(cosines + d);
    const float sine = ptx::Load(cosines + half + d);
    x.low[i] = low * cosine - high * sine;
    x.high[i] = high * cosine + low * sine;
    if (head < args.n_heads) {
      StoreWide(data + d, x.low[i]);
      StoreWide(data + half + d, x.high[i]);
    }
  }
  if (head < args.n_heads) return;
  const BatchSequence sequence = args.sequences[sequence_index];
  const int position = sequence.begin + static_cast<int>(row) - sequence.row_begin;
  constexpr int kTokens = static_cast<int>(kBlockTokens);
  const int kv_head = (head - args.n_heads) % args.n_kv_heads;
  unsigned char* const place =
      const_cast<unsigned char*>(
          args.blocks[sequence.table_begin + position / kTokens - sequence.first_block]) +
      args.layer_offset_bytes + kv_head * args.head_bytes;
  float* const scales = reinterpret_cast<float*>(place + 2 * args.tile_bytes);
  StoreCacheRow(args, x, place + (is_value ? args.tile_bytes : 0),
                scales + (is_value ? kTokens : 0), position % kTokens, lane);
}

}  // namespace kvfold::cuda
