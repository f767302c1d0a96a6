// runtime/kernels/cuda/attention_choice.h: the arithmetic of attention over the block table: what a
// row sees, how rows and keys are cut into tiles, into how many splits, where an element of a tile
// lies in shared memory, how partial results merge. For host and device; no CUDA here.
//
// The query heads of one KV head are packed as rows: packed row r of a sequence is token r / group
// of query head first_head + r % group, so that keys and values are read once for the group.
#pragma once

#include <cstdint>

#include "comm/base/rounding.h"
#include "runtime/kernels/cuda/host_device.h"
#include "shard/kv_layout.h"

namespace kvfold::cuda {

// Positions [begin, end).
struct KeyRange {
  int begin = 0;
  int end = 0;
};

// What the token at `position` sees: nothing after itself, and within the window (0: all).
KVFOLD_HOST_DEVICE constexpr KeyRange VisibleKeys(int position, int window) {
  return {window > 0 ? Most(0, position - window + 1) : 0, position + 1};
}

// Key tiles [begin, end) that some of the tokens at [first, last] see.
KVFOLD_HOST_DEVICE constexpr KeyRange KeyTilesOf(int first, int last, int window, int key_tile) {
  return {VisibleKeys(first, window).begin / key_tile,
          CeilDiv(VisibleKeys(last, window).end, key_tile)};
}

// Whether some token at [first, last] does not see all keys of the tile: only then is it masked.
KVFOLD_HOST_DEVICE constexpr bool NeedsMask(int first, int last, int window, int tile_begin,
                                            int key_tile) {
  return tile_begin + key_tile > VisibleKeys(first, window).end ||
         tile_begin < VisibleKeys(last, window).begin;
}

// Split `split` of n_splits of a range of tiles: neighbours, as equal as can be, rising.
KVFOLD_HOST_DEVICE constexpr KeyRange SplitOf(KeyRange tiles, int n_splits, int split) {
  const int64_t n = tiles.end - tiles.begin;
  return {tiles.begin + static_cast<int>(n * split / n_splits),
          tiles.begin + static_cast<int>(n * (split + 1) / n_splits)};
}

// The 16-byte piece of a row of shared memory that holds piece `chunk` of the row: neighbouring
// rows put it into different banks, so that the eight rows of a matrix load meet in none. Rows have
// head_dim bf16.
template <int kHeadDim>
KVFOLD_HOST_DEVICE constexpr int SwizzledChunk(int row, int chunk) {
  static_assert(kHeadDim % 32 == 0);
  // 8 pieces are all banks. Rows of an odd multiple of 4 pieces start at two places of the banks by
  // turns, so that only four have to be told apart.
  if constexpr (kHeadDim % 64 == 0) return chunk ^ (row & 7);
  return chunk ^ ((row >> 1) & 3);
}
template <int kHeadDim>
KVFOLD_HOST_DEVICE constexpr int SwizzledOffsetBytes(int row, int chunk) {
  return row * kHeadDim * 2 + SwizzledChunk<kHeadDim>(row, chunk) * 16;
}

// How the rows of one KV head of one sequence are cut: one thread block takes row_tile of them.
struct AttentionTiling {
  int warps = 0;
  int rows_per_warp = 0;  // a multiple of 16
  int key_tile = 0;       // keys at a time; divides kBlockTokens
  int stages = 0;         // tiles of K or V in shared memory
  KVFOLD_HOST_DEVICE constexpr int row_tile() const { return warps * rows_per_warp; }
  bool operator==(const AttentionTiling&) const = default;
};

// Few rows (decoding): one warp a block and many blocks, since what counts is bytes in flight.
// Many: as many rows a warp as registers hold, since every row of it shares what is read from
// shared memory; the fold of int8's scales takes some of them.
template <int kHeadDim, bool kFewRows, bool kInt8>
KVFOLD_HOST_DEVICE constexpr AttentionTiling TilingOf() {
  if constexpr (kFewRows) return {1, 16, kHeadDim <= 128 ? 64 : 32, 4};
  if constexpr (kHeadDim > 128) return {4, 16, 32, 3};
  return {4, 32, kHeadDim == 128 && kInt8 ? 32 : 64, 3};
}
inline constexpr int kFewRows = 16;       // packed rows of one KV head, at most
inline constexpr int kPlainRowTile = 16;  // of a block of the plain kernel

// Head dims that the kernels with matrix units are built for; the plain one takes all others.
constexpr bool HasMatrixKernel(int64_t head_dim) {
  return head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256;
}
AttentionTiling ChooseTiling(int64_t head_dim, int64_t packed_rows, bool int8);

// Shared memory of one block: the row tile's queries, the stages, and for int8 caches the scales of
// each stage and one converted tile.
KVFOLD_HOST_DEVICE constexpr int SharedBytes(int head_dim, AttentionTiling tiling, bool int8) {
  const int tile_bytes = tiling.key_tile * head_dim * 2;
  const int rows_bytes = tiling.row_tile() * head_dim * 2;
  if (!int8) return rows_bytes + tiling.stages * tile_bytes;
  return rows_bytes + tile_bytes + tiling.stages * (tile_bytes / 2 + tiling.key_tile * 4);
}

// Into how many splits the keys of every row tile of a sequence are cut, given its row tiles (of
// all KV heads), the most key tiles that one of them sees, and the blocks that the device runs at a
// time. It looks at the sequence alone: what rides beside it changes nothing.
//
// The fewest splits whose last wave leaves little idle: at least 85% of what the best number would
// use. Splits of fewer than kLeastSplitTiles tiles cost more in merging than they gain.
int ChooseSplits(int64_t row_tiles, int64_t key_tiles, int64_t blocks_at_a_time);
inline constexpr int kLeastSplitTiles = 4;

// Partial results of at most this many row tiles wait for their merge at a time.
constexpr int64_t MostPartialTiles(int64_t blocks_at_a_time) { return 2 * blocks_at_a_time; }

// A partial result over some keys: max of the scaled scores times log2(e) (-infinity where the row
// sees none of them), sum of 2^(score - max), and the same sum weighted with the values. Parts
// merge by their weights 2^(max - the largest max); one that saw nothing has weight 0, not NaN.
struct PartialStats {
  float max;
  float sum;
};

}  // namespace kvfold::cuda
