// models/checkpoint/dequantize_k.h: one block of llama.cpp's "K" types to f32, exactly as gguf-py's
// `dequantize` has it.
#pragma once

#include <cstdint>

namespace kvfold::internal {

// A block of 256 elements has one f16 scale d (Q2_K, Q4_K, Q5_K: and an f16 dmin), and a small
// integer scale (and minimum) for each run of 32 (Q2_K, Q3_K, Q6_K: 16) elements. In the order of
// the bytes:
//   Q2_K   16 bytes of scales and minima, 64 bytes q, d, dmin    d * scale * q - dmin * minimum
//   Q3_K   32 bytes h, 64 bytes q, 12 bytes of scales, d         d * (scale - 32) * (q - 4)
//   Q4_K   d, dmin, 12 bytes of scales and minima, 128 bytes q   d * scale * q - dmin * minimum
//   Q5_K   d, dmin, the same 12 bytes, 32 bytes h, 128 bytes q   d * scale * q - dmin * minimum
//   Q6_K   128 bytes q, 64 bytes h, int8 scale[16], d            d * scale * (q - 32)
// where products are rounded one by one from the left, and q and h hold the low and the upper bits
// of an element's number:
//   Q2_K, Q3_K   bits 2 i and 2 i + 1 of byte 32 c + j of q are those of element 128 c + 32 i + j
//   Q4_K, Q5_K   byte 32 c + j of q has four of element 64 c + j, above them those of 64 c + 32 + j
//   Q6_K         byte 64 c + j of q has four of element 128 c + j, and those of 128 c + 64 + j;
//                bits 2 i and 2 i + 1 of byte 32 c + j of h are the upper ones of 128 c + 32 i + j
//   Q3_K, Q5_K   bit i of byte j of h is the uppermost of element 32 i + j
// Source: gguf-py/gguf/quants.py and ggml/src/ggml-common.h of llama.cpp.
//
// Writes 256 elements; `block` need not be aligned.
void BlockQ2_K(const uint8_t* block, float* out);
void BlockQ3_K(const uint8_t* block, float* out);
void BlockQ4_K(const uint8_t* block, float* out);
void BlockQ5_K(const uint8_t* block, float* out);
void BlockQ6_K(const uint8_t* block, float* out);

}  // namespace kvfold::internal
