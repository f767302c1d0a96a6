// models/checkpoint/dequantize.h: stored elements to f32, exactly as gguf-py's `dequantize` and a
// plain cast have them.
#pragma once

#include <cstdint>

#include "models/checkpoint/checkpoint.h"

namespace kvfold {

// Quantised rows are stored in blocks of 32 elements:
//   Q8_0: f16 d; int8 q[32]:          d * q
//   Q4_0: f16 d; 16 bytes:            d * (q - 8)   element j in the low half of byte j, element j
//   + 16 in the high half Q4_1: f16 d; f16 m; 16 bytes:     d * q + m     the same
//
// out[c - col_begin] = element c of a row that is stored from `row` on, for c in [col_begin,
// col_end), which need not begin or end with a block. `row` need not be aligned. Requires 0 <=
// col_begin <= col_end <= columns of the row.
void DequantizeRow(StorageType type, const uint8_t* row, int64_t col_begin, int64_t col_end,
                   float* out);

}  // namespace kvfold
