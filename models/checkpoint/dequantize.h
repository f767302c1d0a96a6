// models/checkpoint/dequantize.h: stored elements to f32, exactly as gguf-py's `dequantize` and a
// plain cast have them.
#pragma once

#include <cstdint>

#include "models/checkpoint/checkpoint.h"

namespace kvfold {

// A quantised row is stored in blocks of 32 elements, d and m being f16:
//   Q8_0   d, then int8 q[32]     d * q
//   Q4_0   d, then 16 bytes       d * (q - 8)
//   Q4_1   d, m, then 16 bytes    d * q + m
//   Q5_0   d, h, then 16 bytes    d * (q - 16)
//   Q5_1   d, m, h, then 16 bytes d * q + m
// where the low half of byte j is q of element j, the high half that of element j + 16, and bit i
// of the four bytes h is the fifth bit of q of element i; or as dequantize_k.h, dequantize_table.h,
// dequantize_ternary.h and dequantize_grid.h say.
//
// out[c - col_begin] = element c of the row that is stored from `row` on, for the columns
// [col_begin, col_end), which need not begin or end with a block. `row` need not be aligned.
// Requires 0 <= col_begin <= col_end <= columns of the row.
void DequantizeRow(StorageType type, const uint8_t* row, int64_t col_begin, int64_t col_end,
                   float* out);

}  // namespace kvfold
