// runtime/kernels/cpu/simd/table.h: the KernelTable of the instruction set that the including
// isa_*.cc is compiled for.
#pragma once

#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/cpu/simd/attention.h"
#include "runtime/kernels/cpu/simd/elementwise.h"
#include "runtime/kernels/cpu/simd/micro_gemm.h"

namespace kvfold::cpu {
namespace {

// As wide as the registers hold sums of: a panel is read once a tile of rows, front to back.
inline constexpr int64_t kPanelCols = kGemmVectors * kLanes;
// Depth of a product before its sums go to memory and back: what the second cache holds of a panel.
inline constexpr int64_t kPanelDepth = 4096;

// Rows go kGemmRows at a time; where the panel has columns that `out` has not, through a local
// tile.
template <typename Products>
void GemmPanel(const GemmPanelArgs& args) {
  using Element = typename Products::Element;
  constexpr int64_t p = Products::kPairs;
  const bool is_whole = args.n_valid == kPanelCols;
  const int64_t depth = is_whole ? kPanelDepth : args.k;
  const int64_t steps = (args.m + kGemmRows - 1) / kGemmRows * (args.k / p);
  const int64_t interval = Larger<int64_t>(1, steps * 64 / Larger<int64_t>(1, args.next_bytes));
  LineFetch fetch{args.next, args.next + args.next_bytes, interval, interval};
  float tile[kGemmRows * kPanelCols];
  for (int64_t begin = 0; begin < args.k; begin += depth) {
    const int64_t end = Smaller(args.k, begin + depth);
    const Element* const a = static_cast<const Element*>(args.a) + begin;
    const Element* const panel = static_cast<const Element*>(args.panel) + begin * kPanelCols;
    for (int64_t r = 0; r < args.m; r += kGemmRows) {
      const int64_t rows = Smaller<int64_t>(kGemmRows, args.m - r);
      float* const out = args.out + r * args.ldo;
      float* const c = is_whole ? out : tile;
      const int64_t ldc = is_whole ? args.ldo : kPanelCols;
      GemmColumns<Products, kGemmVectors>(a + r * args.lda, args.lda, panel, kPanelCols, rows,
                                          end - begin, c, ldc, begin > 0, fetch);
      if (end < args.k || (is_whole && args.bias == nullptr)) continue;
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t n = 0; n < args.n_valid; ++n) {
          out[i * args.ldo + n] = c[i * ldc + n] + (args.bias != nullptr ? args.bias[n] : 0.0f);
        }
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
  table.gemm_panel_bf16 = &GemmPanel<Bf16Products>;
#endif
  table.add_rms_norm = &AddRmsNormRow;
  table.gated_activation = &GatedActivationRow;
  table.soft_cap = &SoftCapRow;
  table.max_sum_exp = &MaxSumExp;
  table.arg_max = &ArgMax;
  table.to_bf16 = &ToBf16;
  table.panel_cols = kPanelCols;
  table.gemm_panel_f32 = &GemmPanel<F32Products>;
  return table;
}

}  // namespace
}  // namespace kvfold::cpu
