// Compiled with the flags of its instruction set: runtime/kernels/CMakeLists.txt.
#define KVFOLD_SIMD_BYTES 64
#define KVFOLD_SIMD_BF16 1
#include "runtime/kernels/cpu/simd/table.h"

namespace kvfold::cpu {
extern const KernelTable kAvx512Bf16Table;
const KernelTable kAvx512Bf16Table = MakeTable(CpuIsa::kAvx512Bf16);
}  // namespace kvfold::cpu
