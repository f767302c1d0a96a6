// Compiled with the flags of its instruction set: runtime/kernels/CMakeLists.txt.
#define KVFOLD_SIMD_BYTES 32
#define KVFOLD_SIMD_BF16 0
#include "runtime/kernels/cpu/simd/table.h"

namespace kvfold::cpu {
extern const KernelTable kAvx2Table;
const KernelTable kAvx2Table = MakeTable(CpuIsa::kAvx2);
}  // namespace kvfold::cpu
