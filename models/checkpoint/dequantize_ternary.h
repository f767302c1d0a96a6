// models/checkpoint/dequantize_ternary.h: one block of the types whose numbers are -1, 0 or 1, to
// f32, exactly as gguf-py's `dequantize` has it.
#pragma once

#include <cstdint>

namespace kvfold::internal {

// Blocks of 256 elements d * (t - 1), d being f16 and t 0, 1 or 2 (TQ2_0: 3 in a file that lies):
//   TQ2_0   64 bytes q, d: bits 2 i and 2 i + 1 of byte 32 c + j are t of element 128 c + 32 i + j
//   TQ1_0   52 bytes q, d: a byte over 256 is a fraction whose first digits to base 3 are t, of
//           bytes 0 to 31 five, for elements that are 32 apart; of the next 16 bytes five, for
//           elements 16 apart; of the last four bytes four, for elements 4 apart
// Source: gguf-py/gguf/quants.py and ggml/src/ggml-common.h of llama.cpp.
//
// Writes 256 elements; `block` need not be aligned.
void BlockTQ1_0(const uint8_t* block, float* out);
void BlockTQ2_0(const uint8_t* block, float* out);

}  // namespace kvfold::internal
