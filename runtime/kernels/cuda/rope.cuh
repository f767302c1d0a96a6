// runtime/kernels/cuda/rope.cuh: rotations, and keys and values on their way into the cache. After
// ptx.h.
#pragma once

#include "runtime/kernels/cuda/elements.cuh"
#include "runtime/kernels/cuda/row_args.h"

namespace kvfold::cuda {

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

// A part of a head of one row in the registers of a lane: runs of kCount neighbouring dims of the
// lower half and the same of the upper one, so that both parts of a rotation meet in a lane. Lane l
// of the lanes that share the head holds run l, l + lanes, ...
template <int kCount>
struct HeadInLanes {
  // kCount 8: head_dim to 256 has 16 runs in each half, a lane each. kCount 1: 128, of 32 lanes.
  static constexpr int kRuns = kCount == 1 ? 4 : 1;
  float low[kRuns][kCount];
  float high[kRuns][kCount];
};

// Whether x is a number that stays finite where it is rounded to bf16.
KVFOLD_DEVICE bool IsFiniteInBf16(float x) { return ptx::Abs(x) < kRoundsToInfinityInBf16; }

KVFOLD_DEVICE int8_t RoundToInt8(float x) {
  const float whole = ptx::RoundToInteger(x);
  return static_cast<int8_t>(whole > 127.0f ? 127.0f : (whole < -127.0f ? -127.0f : whole));
}
KVFOLD_DEVICE void StoreInt8(int8_t* at, const float (&x)[1], float inverse) {
  ptx::Store(at, RoundToInt8(x[0] * inverse));
}
KVFOLD_DEVICE void StoreInt8(int8_t* at, const float (&x)[8], float inverse) {
  ptx::Vector64 v = {{0, 0}};
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const auto byte = static_cast<uint8_t>(RoundToInt8(x[j] * inverse));
    v.words[j / 4] |= static_cast<uint32_t>(byte) << (j % 4 * 8);
  }
  ptx::Store(reinterpret_cast<ptx::Vector64*>(at), v);
}

// A key without its bias: x -= the bias at the block's first position, turned by the key's place in
// the block. Where `block_bias` is not null, that bias is written there too.
template <int kCount>
KVFOLD_DEVICE void SubtractKeyBias(const RopeAppendArgs& args, int64_t row, int kv_head, int slot,
                                   int d, float* block_bias, float (&x_low)[kCount],
                                   float (&x_high)[kCount]) {
  const int half = args.head_dim / 2;
  const float* const bias = args.key_bias + static_cast<int64_t>(kv_head) * args.head_dim + d;
  const float* const first = args.block_rope + row * args.block_rope_stride + d;
  const float* const place = args.slot_rope + static_cast<int64_t>(slot) * args.head_dim + d;
  float low[kCount], high[kCount], cosine[kCount], sine[kCount];
  LoadRun(bias, low);
  LoadRun(bias + half, high);
  LoadRun(first, cosine);
  LoadRun(first + half, sine);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float before = low[j];
    low[j] = before * cosine[j] - high[j] * sine[j];
    high[j] = high[j] * cosine[j] + before * sine[j];
  }
  if (block_bias != nullptr) {
    StoreRun(block_bias + d, low);
    StoreRun(block_bias + half + d, high);
  }
  LoadRun(place, cosine);
  LoadRun(place + half, sine);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    x_low[j] -= low[j] * cosine[j] - high[j] * sine[j];
    x_high[j] -= high[j] * cosine[j] + low[j] * sine[j];
  }
}

// One of the norms before RoPE, of the part of a head that this lane holds. All lanes that share
// heads call it together; those of a value head or of none change nothing.
template <int kCount>
KVFOLD_DEVICE void NormHead(const RopeAppendArgs& args, int head, int lane, int n_runs,
                            HeadInLanes<kCount>& x) {
  using Head = HeadInLanes<kCount>;
  const int lanes = args.lanes_per_head;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < Head::kRuns; ++i) {
    if (i * lanes + lane >= n_runs) continue;
#pragma unroll
    for (int j = 0; j < kCount; ++j)
      squares += x.low[i][j] * x.low[i][j] + x.high[i][j] * x.high[i][j];
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    squares += ptx::ShuffleXor(squares, distance);
  if (head >= args.n_heads + args.n_kv_heads) return;
  const float* const weight = head < args.n_heads ? args.query_norm : args.key_norm;
  const float factor =
      1.0f / ptx::Sqrt(squares / static_cast<float>(args.head_dim) + args.norm_eps);
#pragma unroll
  for (int i = 0; i < Head::kRuns; ++i) {
    const int run = i * lanes + lane;
    if (run >= n_runs) continue;
    float low[kCount], high[kCount];
    LoadRun(weight + run * kCount, low);
    LoadRun(weight + args.head_dim / 2 + run * kCount, high);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      x.low[i][j] = low[j] * (x.low[i][j] * factor);
      x.high[i][j] = high[j] * (x.high[i][j] * factor);
    }
  }
}

// Block (x, y): heads of row x, lanes_per_head lanes each: query heads are rotated where they are,
// key heads rotated into the cache, value heads copied there; into int8 with a scale, such that
// |x - q scale| <= max|x| / 254. What is not finite becomes a key of NaN and a value of zeros
// (shard/kv_layout.h).
template <int kCount, typename Qkv>
KVFOLD_DEVICE void RopeAppendBody(const RopeAppendArgs& args) {
  const int64_t row = ptx::BlockX();
  const int sequence_index = ptx::Load(args.sequence_of + row);
  if (sequence_index < 0) return;
  const int lanes = args.lanes_per_head;
  const int lane = ptx::ThreadX() % lanes;
  const int head = ptx::BlockY() * (kRopeThreads / lanes) + ptx::ThreadX() / lanes;
  const int n_heads = args.n_heads + 2 * args.n_kv_heads;
  const int half = args.head_dim / 2;
  const int n_runs = head < n_heads ? half / kCount : 0;  // lanes of no head stay for the others
  const bool is_value = head >= args.n_heads + args.n_kv_heads;
  Qkv* const data = static_cast<Qkv*>(args.qkv) + row * args.qkv_stride +
                    static_cast<int64_t>(head) * args.head_dim;
  const float* const cosines = args.rope + row * args.rope_stride;

  const BatchSequence sequence = args.sequences[sequence_index];
  const int position = sequence.begin + static_cast<int>(row) - sequence.row_begin;
  constexpr int kTokens = static_cast<int>(kBlockTokens);
  const int slot = position % kTokens;
  const bool is_cached = head >= args.n_heads && head < n_heads;
  const int kv_head = is_cached ? (head - args.n_heads) % args.n_kv_heads : 0;
  unsigned char* place = nullptr;
  if (is_cached) {
    place = const_cast<unsigned char*>(
                args.blocks[sequence.table_begin + position / kTokens - sequence.first_block]) +
            args.layer_offset_bytes + kv_head * args.head_bytes;
  }
  const bool is_key = is_cached && !is_value;
  const bool is_biased = is_key && args.slot_rope != nullptr;
  float* const block_bias =
      is_biased && slot == 0 ? reinterpret_cast<float*>(place + 2 * args.tile_bytes) + 2 * kTokens
                             : nullptr;

  using Head = HeadInLanes<kCount>;
  Head x;
  float largest = 0.0f;
  float odd = 0.0f;  // 1 where a key or its value is not finite
#pragma unroll
  for (int i = 0; i < Head::kRuns; ++i) {
    const int run = i * lanes + lane;
    if (run >= n_runs) continue;
    const int d = run * kCount;
    LoadRun(data + d, x.low[i]);
    LoadRun(data + half + d, x.high[i]);
  }
  if (args.query_norm != nullptr) NormHead(args, head, lane, n_runs, x);
#pragma unroll
  for (int i = 0; i < Head::kRuns; ++i) {
    const int run = i * lanes + lane;
    if (run >= n_runs) continue;
    const int d = run * kCount;
    if (is_key) {
      float low[kCount], high[kCount];
      LoadRun(data + args.n_kv_heads * args.head_dim + d, low);
      LoadRun(data + args.n_kv_heads * args.head_dim + half + d, high);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (!IsFiniteInBf16(low[j]) || !IsFiniteInBf16(high[j])) odd = 1.0f;
      }
    }
    if (!is_value) {
      float cosine[kCount], sine[kCount];
      LoadRun(cosines + d, cosine);
      LoadRun(cosines + half + d, sine);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const float low = x.low[i][j];
        x.low[i][j] = low * cosine[j] - x.high[i][j] * sine[j];
        x.high[i][j] = x.high[i][j] * cosine[j] + low * sine[j];
      }
    }
    if (is_biased) SubtractKeyBias(args, row, kv_head, slot, d, block_bias, x.low[i], x.high[i]);
    if (head < args.n_heads) {
      StoreRun(data + d, x.low[i]);
      StoreRun(data + half + d, x.high[i]);
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (is_key && (!IsFiniteInBf16(x.low[i][j]) || !IsFiniteInBf16(x.high[i][j]))) odd = 1.0f;
      if (is_value && !IsFiniteInBf16(x.low[i][j])) x.low[i][j] = 0.0f;
      if (is_value && !IsFiniteInBf16(x.high[i][j])) x.high[i][j] = 0.0f;
      largest = ptx::Max(largest, ptx::Max(ptx::Abs(x.low[i][j]), ptx::Abs(x.high[i][j])));
    }
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    largest = ptx::Max(largest, ptx::ShuffleXor(largest, distance));
    odd = ptx::Max(odd, ptx::ShuffleXor(odd, distance));
  }
  if (!is_cached) return;
  if (odd > 0.0f) {
    largest = ptx::FloatOf(0x7fc00000u);  // NaN; the scale's, of whole numbers that are any
    const float fill = args.kv_dtype == DType::kI8 ? 0.0f : largest;
#pragma unroll
    for (int i = 0; i < Head::kRuns; ++i) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) x.low[i][j] = x.high[i][j] = fill;
    }
  }

  unsigned char* const tile = place + (is_value ? args.tile_bytes : 0);
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  if (args.kv_dtype == DType::kI8 && lane == 0) {
    float* const scales =
        reinterpret_cast<float*>(place + 2 * args.tile_bytes) + (is_value ? kTokens : 0);
    ptx::Store(scales + slot, largest / 127.0f);
  }
#pragma unroll
  for (int i = 0; i < Head::kRuns; ++i) {
    const int run = i * lanes + lane;
    if (run >= n_runs) continue;
    const int64_t at = static_cast<int64_t>(slot) * args.head_dim + run * kCount;
    if (args.kv_dtype == DType::kI8) {
      StoreInt8(reinterpret_cast<int8_t*>(tile) + at, x.low[i], inverse);
      StoreInt8(reinterpret_cast<int8_t*>(tile) + at + half, x.high[i], inverse);
    } else if (args.kv_dtype == DType::kBF16) {
      StoreRun(reinterpret_cast<uint16_t*>(tile) + at, x.low[i]);
      StoreRun(reinterpret_cast<uint16_t*>(tile) + at + half, x.high[i]);
    } else {
      StoreRun(reinterpret_cast<float*>(tile) + at, x.low[i]);
      StoreRun(reinterpret_cast<float*>(tile) + at + half, x.high[i]);
    }
  }
}

}  // namespace kvfold::cuda
