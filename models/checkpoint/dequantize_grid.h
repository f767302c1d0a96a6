// models/checkpoint/dequantize_grid.h: one block of the types that name the points of a grid, to
// f32, exactly as gguf-py's `dequantize` has it.
#pragma once

#include <cstdint>

namespace kvfold::internal {

// A block of 256 elements has one f16 scale d. An index of several bits names, by a grid of the
// type (grids.h), the values v of eight (IQ3_XXS, IQ3_S: four) neighbouring elements at once. In
// the order of the bytes, "low" being the lower eight bits of the 32 (64) indices:
//   IQ2_XXS   d, then for each run of 32: 4 bytes low, a word W
//   IQ3_XXS   d, 64 bytes low, then for each run of 32 a word W
//             The upper four bits of W are the run's scale; below them are seven bits of signs for
//             each eight elements.
//   IQ2_XS    d, 32 words of nine bits of an index and seven of signs above them, scales
//   IQ2_S     d, 32 bytes low, 32 bytes signs, 8 bytes of the indices' upper two bits, scales
//   IQ3_S     d, 64 bytes low, 8 bytes of the indices' upper bit, 32 bytes signs, scales
//             8 (IQ3_S: 4) bytes of scales, each of four bits for a run of 16 (IQ3_S: 32).
//   IQ1_S     d, 32 bytes low, then for each run of 32 a word: the upper three bits of its four
//             indices, a scale of three bits, and a bit that is one where delta is negative
//   IQ1_M     32 bytes low, 16 bytes of four bits an index: its upper three, and one that is one
//             where delta is negative; then four words, each the scales of three bits of four runs
//             of 16, and above them four bits of d
// What comes first stands in the lower bits. A one among the signs is a negative element; an eighth
// bit of seven makes the number of ones even. The elements are
//   IQ2_...   d * (0.5 + scale) * 0.25 * v * sign
//   IQ3_XXS   d * (0.5 + scale) * 0.5 * v * sign
//   IQ3_S     d * (1 + 2 * scale) * v * sign
//   IQ1_...   d * (1 + 2 * scale) * (v + delta), delta being 0.125 or -0.125
// and no product is rounded.
// Source: gguf-py/gguf/quants.py and ggml/src/ggml-common.h of llama.cpp.
//
// Writes 256 elements; `block` need not be aligned.
void BlockIQ2_XXS(const uint8_t* block, float* out);
void BlockIQ2_XS(const uint8_t* block, float* out);
void BlockIQ2_S(const uint8_t* block, float* out);
void BlockIQ3_XXS(const uint8_t* block, float* out);
void BlockIQ3_S(const uint8_t* block, float* out);
void BlockIQ1_S(const uint8_t* block, float* out);
void BlockIQ1_M(const uint8_t* block, float* out);

}  // namespace kvfold::internal
