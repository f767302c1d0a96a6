// runtime/kernels/cpu/rope.h: rotary embedding and the writing of keys and values into the cache,
// one token at a time.
#pragma once

#include <cstdint>

#include "runtime/kernels/kernels.h"

namespace kvfold::cpu {

// cos_sin[i] = cos(angle_i), cos_sin[n + i] = sin(angle_i), angle_i = float(position) *
// inv_freq[i], n = inv_freq.size().
void FillRopeRow(int64_t position, std::span<const float> inv_freq, float* cos_sin);

// Rotates a head in place: (x_i, x_{i + h}) -> (x_i cos_i - x_{i + h} sin_i, x_{i + h} cos_i + x_i
// sin_i), h = head_dim / 2.
void RotateHead(float* head, const float* cos_sin, int64_t head_dim);

// slot_rope[i][t], [head_dim][kBlockTokens]: rows [0, half) cosines, the others sines, as
// FillRopeRow has them for position t: the keys of a tile lie so (interleave 1).
void FillSlotRope(std::span<const float> inv_freq, float* slot_rope);

// Takes the bias out of one rotated key. bias: [head_dim] before RoPE; block_rope: the rotation of
// the block's first position. The key of slot 0 leaves the bias there as the block's key bias.
void SubtractKeyBias(const KvLayout& layout, std::byte* head, int64_t slot, const float* bias,
                     const float* block_rope, const float* slot_rope, float* key);

// Writes one token's key (rotated, and without its bias where the cache keeps that apart) and value
// of one KV head into the head's tiles at place `slot` of the block.
void AppendHead(const KvLayout& layout, std::byte* head, int64_t slot, const float* key,
                const float* value);

}  // namespace kvfold::cpu
