// models/checkpoint/dequantize_table.h: one block of the types whose numbers of four bits stand for
// the values of a table, to f32, exactly as gguf-py's `dequantize` has it.
#pragma once

#include <cstdint>

namespace kvfold::internal {

// Of 32 elements, each half a byte of q, an index into a table of 16 integers v; the low half of
// byte j of q is element j, the high half element j + 16:
//   IQ4_NL   f16 d, 16 bytes q      d * v
//   MXFP4    a byte e, 16 bytes q   2^(e - 128) * v, v being twice a float of 1 + 2 + 1 bits
// Of 256 elements, eight runs of 32, 16 bytes q each, with a scale of six bits for each run:
//   IQ4_XS   f16 d, two bytes with the scales' upper two bits, run 0 lowest, four bytes with their
//            lower four bits, two runs a byte, 128 bytes q      d * (scale - 32) * v
// Source: gguf-py/gguf/quants.py and ggml/src/ggml-common.h of llama.cpp.
//
// Writes 32 (IQ4_XS: 256) elements; `block` need not be aligned.
void BlockIQ4_NL(const uint8_t* block, float* out);
void BlockIQ4_XS(const uint8_t* block, float* out);
void BlockMXFP4(const uint8_t* block, float* out);

}  // namespace kvfold::internal
