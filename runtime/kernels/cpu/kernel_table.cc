#include "runtime/kernels/cpu/kernel_table.h"

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "shard/kv_layout.h"

namespace kvfold::cpu {

extern const KernelTable kGenericTable;
#if defined(KVFOLD_X86_KERNELS)
extern const KernelTable kAvx2Table;
extern const KernelTable kAvx512Table;
extern const KernelTable kAvx512Bf16Table;
#endif

int64_t AttentionScratchBytes(int64_t head_dim) {
  const auto rounded = [](int64_t bytes) { return RoundUp(bytes, kAlignmentBytes); };
  return 2 * rounded(kRowTile * head_dim * 4) + rounded(kSubTile * kBlockTokens * 4) +
         rounded(kSubTile * kBlockTokens * 2) + 2 * rounded(kRowTile * 4) +
         2 * rounded(kBlockTokens * head_dim * 4);
}

const KernelTable& KernelsFor(CpuIsa isa) {
#if defined(KVFOLD_X86_KERNELS)
  switch (isa) {
    case CpuIsa::kGeneric:
      return kGenericTable;
    case CpuIsa::kAvx2:
      return kAvx2Table;
    case CpuIsa::kAvx512:
      return kAvx512Table;
    case CpuIsa::kAvx512Bf16:
    case CpuIsa::kAmxBf16:
      return kAvx512Bf16Table;
  }
#endif
  KVFOLD_CHECK(isa == CpuIsa::kGeneric, "isa", CpuIsaName(isa));
  return kGenericTable;
}

}  // namespace kvfold::cpu
