// runtime/kernels/cpu/kernel_table.h: the single-threaded kernels that are compiled once for each
// instruction set (simd_kernels.inc, compiled by isa_*.cc), as a table of functions. Threads and
// batches are cpu_kernels.cc's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/device/dtype.h"
#include "models/model_config.h"
#include "runtime/kernels/cpu/isa.h"

namespace kvfold::cpu {

// Query rows of one KV head of one sequence against a range of its positions. Row r is query head
// first_head + r % group of token r / group. Rows are handled kRowTile at a time.
struct AttentionArgs {
  const float* q = nullptr;  // f32, rotated, not scaled: row r at q + (r / group) * q_stride + (r %
                             // group) * head_dim
  int64_t q_stride = 0;
  int64_t group = 0;
  int64_t row_begin = 0;  // [row_begin, row_end), at most kRowTile rows
  int64_t row_end = 0;
  int64_t head_dim = 0;
  int64_t first_position = 0;  // of token 0
  int64_t window = 0;          // 0 = all
  float score_scale = 0.0f;    // Log2Scores (runtime/kernels/log2_scores.h)
  float score_cap = 0.0f;
  // Keys and values: block b holds positions [b * 128, ...); head(b) = blocks[b - first_block] +
  // head_offset.
  std::byte* const* blocks = nullptr;
  int64_t first_block = 0;
  int64_t head_offset_bytes = 0;
  int64_t tile_bytes = 0;
  int64_t key_begin =
      0;  // only positions in [key_begin, key_end) are taken, further cut by causality and window
  int64_t key_end = 0;
  DType kv_dtype = DType::kF32;
  const float* slot_rope = nullptr;  // null: the cache has no key bias
  std::byte* scratch = nullptr;      // AttentionScratchBytes(head_dim), 64-byte aligned
  // Exactly one form of output. Final: `out` normalised, row r at out + ((r / group) * out_stride +
  // (r % group) * head_dim) elements of out_dtype, and lse (may be null) at lse + (r / group) *
  // lse_stride + r % group. Partial: not normalised, row r - row_begin at partial + that *
  // (head_dim + 2): head_dim sums, then the maximum (of scores times log2 e) and the sum of powers.
  void* out = nullptr;
  DType out_dtype = DType::kF32;
  int64_t out_stride = 0;
  float* lse = nullptr;
  int64_t lse_stride = 0;
  float* partial = nullptr;
};

// Rows of one call share the conversion of a block of keys and values; within it they go kSubTile
// at a time, whose scores stay in the nearest caches.
inline constexpr int64_t kSubTile = 96;
inline constexpr int64_t kRowTile = 4 * kSubTile;
// Bytes of AttentionArgs::scratch: q, scores, probabilities and sums of one row tile, and one
// dequantised K and V tile.
int64_t AttentionScratchBytes(int64_t head_dim);

// out[m][n] = sum_k a[m][k] * panel[k / p][n][k % p] + bias[n] for n in [0, n_valid), p = 1 for f32
// and 2 for bf16; a panel has panel_cols columns of its table, zeros beyond n_valid and beyond k.
struct GemmPanelArgs {
  const void* a = nullptr;  // [m][k], rows lda elements apart
  int64_t lda = 0;
  const void* panel = nullptr;
  int64_t m = 0;
  int64_t k = 0;
  const float* bias = nullptr;  // may be null
  int64_t n_valid = 0;
  float* out = nullptr;
  int64_t ldo = 0;
  // What this thread will read next, fetched into its second cache meanwhile; may be null.
  const std::byte* next = nullptr;
  int64_t next_bytes = 0;
};

struct KernelTable {
  CpuIsa isa;
  // interleave 1: products in f32; 2: in pairs of bf16 (from kAvx512Bf16 on, else null).
  void (*attention_f32)(const AttentionArgs&);
  void (*attention_bf16)(const AttentionArgs&);
  // One row of Kernels::AddRmsNorm; delta and delta_weight may be null.
  void (*add_rms_norm)(float* residual, const float* delta, const float* delta_weight,
                       const float* weight, float eps, int64_t dim, void* out, DType out_dtype);
  void (*gated_activation)(const float* gate, const float* up, Activation activation, int64_t n,
                           void* out, DType out_dtype);
  void (*soft_cap)(float* x, int64_t n, float cap);
  // Largest element and sum of exp(x - max); n >= 1.
  void (*max_sum_exp)(const float* x, int64_t n, float* max, float* sum);
  // Index of the first of the largest elements, NaN never being one; 0 where none is above
  // -infinity.
  int64_t (*arg_max)(const float* x, int64_t n);
  void (*to_bf16)(const float* x, int64_t n, uint16_t* out);
  // Products on panels of packed weights, as panel_linear.cc lays them; bf16 from kAvx512Bf16 on,
  // else null.
  int64_t panel_cols;
  void (*gemm_panel_f32)(const GemmPanelArgs&);
  void (*gemm_panel_bf16)(const GemmPanelArgs&);
};

// Throws std::logic_error where this build has no kernels for `isa`.
const KernelTable& KernelsFor(CpuIsa isa);

}  // namespace kvfold::cpu
