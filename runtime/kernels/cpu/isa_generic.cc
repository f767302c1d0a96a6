// Compiled with the flags of its instruction set: runtime/kernels/CMakeLists.txt.
#define KVFOLD_SIMD_BYTES 16
#define KVFOLD_SIMD_BF16 0
#include "runtime/kernels/cpu/simd/table.h"

namespace kvfold::cpu {
extern const KernelTable kGenericTable;
const KernelTable kGenericTable = MakeTable(CpuIsa::kGeneric);
}  // namespace kvfold::cpu
