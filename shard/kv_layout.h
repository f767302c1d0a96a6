// shard/kv_layout.h: how one rank's keys and values of a block of positions lie in memory. This
// comment is the only spec.
//
// A block holds kBlockTokens positions of all layers of one layer group and of this rank's KV
// heads, contiguous:
//
//   block  = [layers of the group][n_kv_heads] heads
//   head   = K tile, V tile, and for int8 K scales [kBlockTokens] f32, V scales [kBlockTokens] f32,
//            and with has_key_bias a key bias [head_dim] f32; padded to 64 bytes
//
// Element (position t, dim d) of a tile is at KeyElement(t, d), ValueElement(t, d). With p =
// `interleave`:
//
//   p = 1, 2           K tile = [head_dim / p][kBlockTokens][p], V tile = [kBlockTokens / p]
//                      [head_dim][p]
//   p = kRowMajorTiles both tiles = [kBlockTokens][head_dim]
//
// p is 1 where a CPU multiplies in f32 and 2 where it multiplies pairs of bf16: each tile is then
// the right-hand side of a matrix product as the processor reads it, and nothing is repacked. GPUs
// take rows: what they read at a time is 16 bytes of a row, and their matrix units transpose on
// loading. K is stored after RoPE. An int8 element stands for element * scale of its position and
// head, and with has_key_bias a key at place t of its block for that plus the block's key bias
// turned by t positions (as RoPE turns a key at position t). A bias of the key projection may be a
// hundred times what the text adds to it; left in, it would take up the whole scale. The block
// holds it as it is at its first position, written with the key of place 0.
//
// Unwritten positions are zero bytes or stale: kernels mask them by their scores, whatever those
// are, and multiply their values by 0. So a V tile and its scales are finite, always: a position
// and head whose key or value is not finite has a key of NaN (int8: its scale) and a value of
// zeros, and is NaN for whoever sees it.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/device/dtype.h"

namespace kvfold {

inline constexpr int64_t kBlockTokens = 128;
inline constexpr int64_t kRowMajorTiles = 0;  // a KvLayout::interleave
// From this magnitude on a value is no longer finite once it is rounded to bf16.
inline constexpr float kRoundsToInfinityInBf16 = 0x1.ffp127f;

// Layers that see the same span of positions.
struct LayerGroup {
  std::vector<int64_t> layers;  // rising
  int64_t window = 0;           // positions that a query sees, itself included; 0 = all
};

struct KvLayout {
  std::vector<LayerGroup> groups;
  int64_t n_kv_heads = 0;  // of this rank
  int64_t head_dim = 0;
  DType dtype = DType::kF32;  // kF32, kBF16, kI8
  int64_t interleave = 1;     // p above: 1, 2 or kRowMajorTiles
  bool has_key_bias = false;  // kI8 only

  int64_t KeyElement(int64_t slot, int64_t dim) const {  // slot: position within the block
    const int64_t p = interleave == kRowMajorTiles ? head_dim : interleave;
    return (dim / p * kBlockTokens + slot) * p + dim % p;
  }
  int64_t ValueElement(int64_t slot, int64_t dim) const {
    const int64_t p = interleave == kRowMajorTiles ? 1 : interleave;
    return (slot / p * head_dim + dim) * p + slot % p;
  }
  int64_t tile_bytes() const;  // of one K or V tile
  int64_t head_bytes() const;  // K tile, V tile, scales, key bias, padding
  int64_t layer_bytes() const { return head_bytes() * n_kv_heads; }
  int64_t block_bytes(int group) const;  // of one block of the group
  // Within a head; int8 only.
  int64_t k_scales_offset() const { return 2 * tile_bytes(); }
  int64_t v_scales_offset() const { return 2 * tile_bytes() + kBlockTokens * 4; }
  int64_t key_bias_offset() const { return 2 * tile_bytes() + 2 * kBlockTokens * 4; }
};

// Groups by window in order of first appearance: layers with equal windows share a group.
std::vector<LayerGroup> GroupLayers(const std::vector<int64_t>& layer_windows);

}  // namespace kvfold
