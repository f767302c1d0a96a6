#include "runtime/kernels/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "comm/error.h"
#include "runtime/kernels/cpu/onednn.h"

namespace kvfold {
namespace {

constexpr CpuIsa kAll[] = {CpuIsa::kGeneric, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16,
                           CpuIsa::kAmxBf16};

CpuIsa BestOfProcessor() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  // Whether tiles may be used is the system's decision too: oneDNN, whose products they are for,
  // asks it.
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return CpuIsa::kAmxBf16;
  if (avx512) return CpuIsa::kAvx512;
  if (avx2) return CpuIsa::kAvx2;
#endif
  return CpuIsa::kGeneric;
}

CpuIsa CapOfEnvironment() {
  const char* value = std::getenv("KVFOLD_MAX_CPU_ISA");
  if (value == nullptr || *value == '\0') return CpuIsa::kAmxBf16;
  for (const CpuIsa isa : kAll) {
    if (CpuIsaName(isa) == value) return isa;
  }
  throw InputError(fmt::format(
      "KVFOLD_MAX_CPU_ISA is \"{}\", expected generic, avx2, avx512, avx512_bf16 or amx_bf16",
      value));
}

}  // namespace

std::string_view CpuIsaName(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kGeneric:
      return "generic";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512";
    case CpuIsa::kAvx512Bf16:
      return "avx512_bf16";
    case CpuIsa::kAmxBf16:
      return "amx_bf16";
  }
  return "?";
}

CpuIsa DetectCpuIsa() {
  return std::min({BestOfProcessor(), CapOfEnvironment(), onednn::BestIsa()});
}

std::vector<CpuIsa> AvailableCpuIsas() {
  const CpuIsa best = DetectCpuIsa();
  std::vector<CpuIsa> isas;
  for (const CpuIsa isa : kAll) {
    if (isa <= best) isas.push_back(isa);
  }
  return isas;
}

}  // namespace kvfold
