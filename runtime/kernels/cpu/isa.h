// runtime/kernels/cpu/isa.h: which instructions this process may use. Kernels are compiled once for
// each and chosen at run time.
#pragma once

#include <string_view>
#include <vector>

namespace kvfold {

// Each includes those before it. kAmxBf16: kAvx512Bf16 and oneDNN's products, which use the
// processor's matrix tiles.
enum class CpuIsa { kGeneric, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

std::string_view CpuIsaName(CpuIsa isa);
// The best that the processor has, capped by the environment variable KVFOLD_MAX_CPU_ISA (generic,
// avx2, avx512, avx512_bf16, amx_bf16) and by oneDNN's own ONEDNN_MAX_CPU_ISA. Throws InputError
// where the variable holds anything else.
CpuIsa DetectCpuIsa();
// All that the processor has, the worst first, capped likewise.
std::vector<CpuIsa> AvailableCpuIsas();

}  // namespace kvfold
