// models/checkpoint/dequantize_k.h: one block of llama.cpp's "K" types to f32, exactly as gguf-py's
// `dequantize` has it.
#pragma once

#include <cstdint>

namespace kvfold::internal {

// A block of 256 elements has one f16 scale d (Q4_K, Q5_K: and an f16 dmin), and a small integer
// scale for each run of 32 (Q6_K: 16) elements:
//   Q4_K   d, dmin, 12 bytes of scales and minima, 128 bytes q        d * scale * q - dmin *
//   minimum Q5_K   d, dmin, 12 bytes of scales and minima, 32 bytes h, 128 q  the same Q6_K   128
//   bytes q, 64 bytes h, int8 scale[16], d                 d * scale * (q - 32)
// where products are rounded one by one from the left. Of Q4_K and Q5_K, byte 32 c + j of q holds
// the low four bits of element 64 c + j, and above them those of element 64 c + 32 + j; bit i of
// byte j of h is the fifth bit of element 32 i + j. Of Q6_K, byte 64 c + j of q holds those of
// elements 128 c + j and 128 c + 64 + j, and bits 2 i and 2 i + 1 of byte 32 c + j of h are the
// upper bits of element 128 c + 32 i + j.
// Source: gguf-py/gguf/quants.py and ggml/src/ggml-common.h of llama.cpp.
//
// Writes 256 elements; `block` need not be aligned.
void BlockQ4_K(const uint8_t* block, float* out);
void BlockQ5_K(const uint8_t* block, float* out);
void BlockQ6_K(const uint8_t* block, float* out);

}  // namespace kvfold::internal
