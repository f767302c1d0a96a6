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

// Writes one token's key (already rotated) and value of one KV head into the head's tiles at place
// `slot` of the block.
void AppendHead(const KvLayout& layout, std::byte* head, int64_t slot, const float* key,
                const float* value);

}  // namespace kvfold::cpu
