// runtime/kernels/cpu/simd/table.h: the KernelTable of the instruction set that the including
// isa_*.cc is compiled for.
#pragma once

#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/cpu/simd/attention.h"
#include "runtime/kernels/cpu/simd/elementwise.h"
#include "runtime/kernels/cpu/simd/micro_gemm.h"

namespace kvfold::cpu {
namespace {

// out[0..m)[0..n_valid) = a [m, k] times one panel [k][kPanel], plus bias. Rows go kGemmRows at a
// time through a local tile, so that a short last panel never writes beyond its columns.
void GemmPanel(const float* a, int64_t lda, const float* panel, int64_t m, int64_t k,
               const float* bias, int64_t n_valid, float* out, int64_t ldo) {
  float tile[kGemmRows * kPanel];
  for (int64_t r = 0; r < m; r += kGemmRows) {
    const int64_t rows = Smaller<int64_t>(kGemmRows, m - r);
    Gemm<F32Products>(a + r * lda, lda, panel, kPanel, rows, kPanel, k, tile, kPanel, false);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < n_valid; ++j) {
        out[(r + i) * ldo + j] = tile[i * kPanel + j] + (bias != nullptr ? bias[j] : 0.0f);
      }
    }
  }
}

constexpr KernelTable MakeTable(CpuIsa isa) {
  KernelTable table{};
  table.isa = isa;
  table.attention_f32 = &AttentionTile<F32Products>;
#if KVFOLD_SIMD_BF16
  table.attention_bf16 = &AttentionTile<Bf16Products>;
#endif
  table.add_rms_norm = &AddRmsNormRow;
  table.gated_activation = &GatedActivationRow;
  table.max_sum_exp = &MaxSumExp;
  table.to_bf16 = &ToBf16;
  table.gemm_panel = &GemmPanel;
  return table;
}

}  // namespace
}  // namespace kvfold::cpu
