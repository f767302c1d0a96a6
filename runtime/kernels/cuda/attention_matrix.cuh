// runtime/kernels/cuda/attention_matrix.cuh: attention over the block table with matrix units: bf16
// products, f32 sums (FlashAttention-2, arXiv:2307.08691, algorithm 1). After ptx.h.
//
// One thread block takes one AttentionItem: a tile of packed rows over a range of key tiles. Tiles
// K0, V0, K1, V1, ... come through a ring of stages in shared memory by asynchronous copies; int8
// tiles are widened to bf16, which holds their whole numbers exactly, their scales folded into
// scores and probabilities. Keys of a cache with a key bias are widened to what they stand for
// instead, rounded as a bf16 cache has them.
#pragma once

#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/elements.cuh"

namespace kvfold::cuda {

template <int kHeadDimOf, bool kFewRowsOf, bool kInt8Of, bool kKeyBiasOf, bool kCappedOf>
struct MatrixAttention {
  static constexpr int kHeadDim = kHeadDimOf;
  static constexpr bool kInt8 = kInt8Of;
  static constexpr bool kKeyBias = kKeyBiasOf;  // of int8
  static_assert(kInt8 || !kKeyBias);
  static constexpr bool kCapped = kCappedOf;
  static constexpr AttentionTiling kTiling = TilingOf<kHeadDimOf, kFewRowsOf, kInt8Of>();
  static constexpr int kThreads = kTiling.warps * 32;
  static constexpr int kSharedBytes = SharedBytes(kHeadDimOf, kTiling, kInt8Of);
  // Blocks that share a multiprocessor, by which the compiler bounds registers.
  static constexpr int kBlocksAtATime = kFewRowsOf ? (kHeadDimOf <= 128 ? 4 : 2) : 2;

  static constexpr int kKeyTile = kTiling.key_tile;
  static constexpr int kStages = kTiling.stages;
  static constexpr int kRowTile = kTiling.row_tile();
  static constexpr int kSlabs = kTiling.rows_per_warp / 16;  // of 16 rows a warp
  static constexpr int kTileBytes = kKeyTile * kHeadDim * 2;
  static constexpr int kStageBytes = kInt8 ? kTileBytes / 2 + kKeyTile * 4 : kTileBytes;
  static constexpr int kRowChunks = kHeadDim / 8;  // of 16 bytes of bf16

  const AttentionArgs& args;
  // Read where they are needed, not held in registers, which sums and scores fill.
  const AttentionItem& item;
  const BatchSequence& sequence;
  const int thread, warp, lane;

  KVFOLD_DEVICE explicit MatrixAttention(const AttentionArgs& arguments)
      : args(arguments),
        item(arguments.items[ptx::BlockX()]),
        sequence(arguments.sequences[item.sequence]),
        thread(ptx::ThreadX()),
        warp(thread / 32),
        lane(thread % 32) {}

  // Parts of shared memory.
  KVFOLD_DEVICE static unsigned char* Queries() { return ptx::Shared(); }
  KVFOLD_DEVICE static unsigned char* Stage(int p) {
    return ptx::Shared() + kRowTile * kHeadDim * 2 + p % kStages * kStageBytes;
  }
  KVFOLD_DEVICE static unsigned char* Widened() {  // int8 only
    return ptx::Shared() + kRowTile * kHeadDim * 2 + kStages * kStageBytes;
  }

  // Packed row that this thread holds in accumulators d[2 half], d[2 half + 1] of a slab.
  KVFOLD_DEVICE int RowOf(int slab, int half) const {
    return item.row_begin + warp * kTiling.rows_per_warp + slab * 16 + half * 8 + lane / 4;
  }
  KVFOLD_DEVICE int PositionOf(int packed_row) const {
    return sequence.begin + packed_row / item.group;
  }

  KVFOLD_DEVICE void LoadQueries() const {
    for (int i = thread; i < kRowTile * kRowChunks; i += kThreads) {
      const int row = i / kRowChunks;
      const int chunk = i % kRowChunks;
      const int packed = item.row_begin + row;
      ptx::Vector128 v = {{0, 0, 0, 0}};
      if (packed < item.row_end) {
        const int64_t at = (sequence.row_begin + packed / item.group) * args.q_stride +
                           (item.first_head + packed % item.group) * kHeadDim + chunk * 8;
        v = LoadAsBf16x8(args.q, at, args.q_dtype);
      }
      ptx::StoreShared(
          reinterpret_cast<ptx::Vector128*>(Queries() + SwizzledOffsetBytes<kHeadDim>(row, chunk)),
          v);
    }
  }

  // The position of the first key of piece p.
  KVFOLD_DEVICE int PositionOfPiece(int p) const { return (item.tile_begin + p / 2) * kKeyTile; }
  // The KV head of the block that holds a position.
  KVFOLD_DEVICE const unsigned char* HeadOf(int position) const {
    return args.blocks[sequence.table_begin + position / static_cast<int>(kBlockTokens) -
                       sequence.first_block] +
           args.layer_offset_bytes + item.kv_head * args.head_bytes;
  }

  // Starts the copy of piece p: K of key tile tile_begin + p / 2 if p is even, else V.
  KVFOLD_DEVICE void StartPiece(int p) const {
    const int position = PositionOfPiece(p);
    const int slot = position % static_cast<int>(kBlockTokens);
    const unsigned char* const head = HeadOf(position);
    const unsigned char* const from =
        head + (p % 2) * args.tile_bytes + slot * kHeadDim * (kInt8 ? 1 : 2);
    unsigned char* const to = Stage(p);
    if constexpr (kInt8) {
#pragma unroll 1
      for (int i = thread; i < kTileBytes / 32; i += kThreads) {
        ptx::CpAsync16(to + i * 16, from + i * 16);
      }
      const unsigned char* const scales =
          head + 2 * args.tile_bytes + (p % 2 * static_cast<int>(kBlockTokens) + slot) * 4;
      for (int i = thread; i < kKeyTile / 4; i += kThreads) {
        ptx::CpAsync16(to + kTileBytes / 2 + i * 16, scales + i * 16);
      }
    } else {
#pragma unroll 1  // addresses of more take registers from sums and scores
      for (int i = thread; i < kKeyTile * kRowChunks; i += kThreads) {
        ptx::CpAsync16(to + SwizzledOffsetBytes<kHeadDim>(i / kRowChunks, i % kRowChunks),
                       from + i * 16);
      }
    }
  }

  // Waits until piece p is there for all, starts the piece that takes the room of the one before
  // it, and says where p's tile of bf16 lies. Every thread has done with piece p - 1.
  KVFOLD_DEVICE const unsigned char* Arrive(int p, int n_pieces) const {
    ptx::CpAsyncWait<kStages - 2>();
    ptx::SyncThreads();
    if (p + kStages - 1 < n_pieces) StartPiece(p + kStages - 1);
    ptx::CpAsyncCommit();  // also of nothing: groups are counted
    const unsigned char* const stage = Stage(p);
    if constexpr (kInt8) {
      if (kKeyBias && p % 2 == 0) {
        WidenBiased(p);
      } else {
        Widen(stage);
      }
      ptx::SyncThreads();
      return Widened();
    } else {
      return stage;
    }
  }

  // A stage's int8 as bf16, int8 only.
  KVFOLD_DEVICE void Widen(const unsigned char* stage) const {
#pragma unroll 1
    for (int i = thread; i < kTileBytes / 32; i += kThreads) {
      const ptx::Vector128 narrow =
          ptx::LoadShared(reinterpret_cast<const ptx::Vector128*>(stage + i * 16));
      const int row = i / (kRowChunks / 2);
      const int chunk = i % (kRowChunks / 2) * 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        ptx::Vector128 wide;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t word = narrow.words[half * 2 + j / 2] >> (j % 2 * 16);
          wide.words[j] =
              ptx::PackBf16x2(static_cast<float>(static_cast<int8_t>(word & 0xffu)),
                              static_cast<float>(static_cast<int8_t>((word >> 8) & 0xffu)));
        }
        ptx::StoreShared(reinterpret_cast<ptx::Vector128*>(
                             Widened() + SwizzledOffsetBytes<kHeadDim>(row, chunk + half)),
                         wide);
      }
    }
  }

  // The keys of piece p as bf16: element times scale, and the bias of the block turned by the key's
  // place in it.
  KVFOLD_DEVICE void WidenBiased(int p) const {
    constexpr int kHalf = kHeadDim / 2;
    static_assert(kHalf % 16 == 0);
    constexpr int kTokens = static_cast<int>(kBlockTokens);
    const int position = PositionOfPiece(p);
    const float* const bias =
        reinterpret_cast<const float*>(HeadOf(position) + 2 * args.tile_bytes) + 2 * kTokens;
#pragma unroll 1
    for (int i = thread; i < kTileBytes / 16; i += kThreads) {
      const int row = i / kRowChunks;
      const int chunk = i % kRowChunks;
      const int d = chunk * 8;
      const bool is_low = d < kHalf;
      const ptx::Vector64 narrow =
          ptx::LoadShared(reinterpret_cast<const ptx::Vector64*>(Stage(p) + i * 8));
      const float scale = ScaleOf(p, row);
      const float* const place = args.slot_rope + (position % kTokens + row) * kHeadDim;
      float along[8], across[8], cosine[8], sine[8];
      LoadRun(bias + d, along);
      LoadRun(bias + (is_low ? d + kHalf : d - kHalf), across);
      LoadRun(place + d % kHalf, cosine);
      LoadRun(place + kHalf + d % kHalf, sine);
      float x[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const auto whole = static_cast<int8_t>((narrow.words[j / 4] >> (j % 4 * 8)) & 0xffu);
        const float turned = along[j] * cosine[j] + (is_low ? -across[j] : across[j]) * sine[j];
        x[j] = static_cast<float>(whole) * scale + turned;
      }
      ptx::Vector128 wide;
#pragma unroll
      for (int j = 0; j < 4; ++j) wide.words[j] = ptx::PackBf16x2(x[2 * j], x[2 * j + 1]);
      ptx::StoreShared(
          reinterpret_cast<ptx::Vector128*>(Widened() + SwizzledOffsetBytes<kHeadDim>(row, chunk)),
          wide);
    }
  }

  // The scale of key `key` of the tile, int8 only.
  KVFOLD_DEVICE float ScaleOf(int p, int key) const {
    return ptx::LoadShared(reinterpret_cast<const float*>(Stage(p) + kTileBytes / 2) + key);
  }

  using Scores = float[kSlabs][kKeyTile / 8][4];
  using Sums = float[kSlabs][kHeadDim / 8][4];

  KVFOLD_DEVICE void Multiply(const unsigned char* keys, Scores& s) const {
#pragma unroll 2  // loads of more steps ahead take registers from the sums
    for (int k = 0; k < kHeadDim / 16; ++k) {
      uint32_t a[kSlabs][4];
#pragma unroll
      for (int slab = 0; slab < kSlabs; ++slab) {
        const int row = warp * kTiling.rows_per_warp + slab * 16 + lane % 16;
        ptx::LdMatrixX4(a[slab], Queries() + SwizzledOffsetBytes<kHeadDim>(row, 2 * k + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < kKeyTile / 16; ++n) {
        uint32_t b[4];
        const int key = n * 16 + lane / 16 * 8 + lane % 8;
        ptx::LdMatrixX4(b, keys + SwizzledOffsetBytes<kHeadDim>(key, 2 * k + lane / 8 % 2));
#pragma unroll
        for (int slab = 0; slab < kSlabs; ++slab) {
          ptx::MmaBf16_16816(s[slab][2 * n], a[slab], b[0], b[1]);
          ptx::MmaBf16_16816(s[slab][2 * n + 1], a[slab], b[2], b[3]);
        }
      }
    }
  }

  // Tanh of what is to be capped: the cap itself is a factor of the powers.
  KVFOLD_DEVICE void Cap(Scores& s) const {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) s[slab][n][j] = Tanh(s[slab][n][j] * args.score_scale);
      }
    }
  }

  // What a held score times makes the power of two.
  KVFOLD_DEVICE float PowerScale() const { return kCapped ? args.score_cap : args.score_scale; }

  KVFOLD_DEVICE void Mask(int tile_position, Scores& s) const {
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const KeyRange seen = VisibleKeys(PositionOf(RowOf(slab, half)), sequence.window);
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int position = tile_position + n * 8 + lane % 4 * 2 + j;
            if (position < seen.begin || position >= seen.end) {
              s[slab][n][2 * half + j] = ptx::FloatOf(0xff800000u);  // -infinity
            }
          }
        }
      }
    }
  }

  // Turns scores into 2^(scaled score - maximum) and carries maximum, sum and weighted values on.
  KVFOLD_DEVICE void Exponentiate(Scores& s, float (&max)[kSlabs][2], float (&sum)[kSlabs][2],
                                  Sums& o) const {
    const float least = ptx::FloatOf(0xff800000u);
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = max[slab][half];
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
          top = ptx::Max(top, ptx::Max(s[slab][n][2 * half], s[slab][n][2 * half + 1]));
        }
        top = ptx::Max(top, ptx::ShuffleXor(top, 1));  // the four lanes of a row
        top = ptx::Max(top, ptx::ShuffleXor(top, 2));
        // A row that has seen nothing yet: powers of -infinity, not of infinity - infinity.
        const float held = top == least ? 0.0f : top * PowerScale();
        const float shrink = ptx::Exp2Fast(max[slab][half] * PowerScale() - held);
        max[slab][half] = top;
        float total = 0.0f;
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
          for (int j = 2 * half; j < 2 * half + 2; ++j) {
            s[slab][n][j] = ptx::Exp2Fast(s[slab][n][j] * PowerScale() - held);
            total += s[slab][n][j];
          }
        }
        sum[slab][half] = sum[slab][half] * shrink + total;
#pragma unroll
        for (int d = 0; d < kHeadDim / 8; ++d) {
          o[slab][d][2 * half] *= shrink;
          o[slab][d][2 * half + 1] *= shrink;
        }
      }
    }
  }

  KVFOLD_DEVICE void Accumulate(const unsigned char* values, const Scores& s, Sums& o) const {
#pragma unroll
    for (int k = 0; k < kKeyTile / 16; ++k) {
      uint32_t a[kSlabs][4];  // what the products of scores leave where is what these take
#pragma unroll
      for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* const p = &s[slab][2 * k + i / 2][i % 2 * 2];
          a[slab][i] = ptx::PackBf16x2(p[0], p[1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kHeadDim / 16; ++n) {
        uint32_t b[4];
        const int key = k * 16 + lane % 16;
        ptx::LdMatrixX4Trans(b, values + SwizzledOffsetBytes<kHeadDim>(key, 2 * n + lane / 16));
#pragma unroll
        for (int slab = 0; slab < kSlabs; ++slab) {
          ptx::MmaBf16_16816(o[slab][2 * n], a[slab], b[0], b[1]);
          ptx::MmaBf16_16816(o[slab][2 * n + 1], a[slab], b[2], b[3]);
        }
      }
    }
  }

  KVFOLD_DEVICE void ScaleColumns(int p, Scores& s) const {
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float scale = ScaleOf(p, n * 8 + lane % 4 * 2 + j);
#pragma unroll
        for (int slab = 0; slab < kSlabs; ++slab) {
          s[slab][n][j] *= scale;
          s[slab][n][2 + j] *= scale;
        }
      }
    }
  }

  KVFOLD_DEVICE void Write(int slab, int half, float max, float sum, const Sums& o) const {
    const int packed = RowOf(slab, half);
    if (packed >= item.row_end) return;
    const int column = lane % 4 * 2;
    const float scaled_max = max * PowerScale();
    if (item.partial >= 0) {
      const int64_t row = item.partial + packed - item.row_begin;
      float* const out = args.partial_out + row * kHeadDim + column;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        const ptx::Vector64 pair = {
            {ptx::BitsOf(o[slab][d][2 * half]), ptx::BitsOf(o[slab][d][2 * half + 1])}};
        ptx::Store(reinterpret_cast<ptx::Vector64*>(out + d * 8), pair);
      }
      if (column == 0) args.partial_stats[row] = {scaled_max, sum};
      return;
    }
    const int64_t row = sequence.row_begin + packed / item.group;
    const int head = item.first_head + packed % item.group;
    const int64_t at = row * args.out_stride + head * kHeadDim + column;
    const float share = 1.0f / sum;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      const float x = o[slab][d][2 * half] * share;
      const float y = o[slab][d][2 * half + 1] * share;
      if (args.out_dtype == DType::kBF16) {
        ptx::Store(reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(args.out) + at + d * 8),
                   ptx::PackBf16x2(x, y));
      } else {
        const ptx::Vector64 pair = {{ptx::BitsOf(x), ptx::BitsOf(y)}};
        ptx::Store(reinterpret_cast<ptx::Vector64*>(static_cast<float*>(args.out) + at + d * 8),
                   pair);
      }
    }
    if (args.log_sum_exp != nullptr && column == 0) {
      ptx::Store(args.log_sum_exp + row * args.n_heads + head,
                 (scaled_max + ptx::Log2(sum)) * 0.693147180559945f);
    }
  }

  KVFOLD_DEVICE void Run() const {
    const int n_pieces = 2 * (item.tile_end - item.tile_begin);
#pragma unroll
    for (int p = 0; p < kStages - 1; ++p) {
      if (p < n_pieces) StartPiece(p);
      ptx::CpAsyncCommit();
    }
    LoadQueries();  // seen by others after the first Arrive

    Sums o;
    float max[kSlabs][2], sum[kSlabs][2];
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      max[slab][0] = max[slab][1] = ptx::FloatOf(0xff800000u);
      sum[slab][0] = sum[slab][1] = 0.0f;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
#pragma unroll
        for (int j = 0; j < 4; ++j) o[slab][d][j] = 0.0f;
      }
    }
    for (int p = 0; p < n_pieces; p += 2) {
      const int tile_position = (item.tile_begin + p / 2) * kKeyTile;
      Scores s;
#pragma unroll
      for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
          for (int j = 0; j < 4; ++j) s[slab][n][j] = 0.0f;
        }
      }
      Multiply(Arrive(p, n_pieces), s);
      if constexpr (kInt8 && !kKeyBias) ScaleColumns(p, s);
      if constexpr (kCapped) Cap(s);
      if (NeedsMask(PositionOf(item.row_begin), PositionOf(item.row_end - 1), sequence.window,
                    tile_position, kKeyTile)) {
        Mask(tile_position, s);
      }
      Exponentiate(s, max, sum, o);
      const unsigned char* const values = Arrive(p + 1, n_pieces);
      if constexpr (kInt8) ScaleColumns(p + 1, s);
      Accumulate(values, s, o);
    }
    ptx::CpAsyncWait<0>();  // the groups of nothing
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[slab][half];
        total += ptx::ShuffleXor(total, 1);
        total += ptx::ShuffleXor(total, 2);
        Write(slab, half, max[slab][half], total, o);
      }
    }
  }
};

}  // namespace kvfold::cuda
