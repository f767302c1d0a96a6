#include "comm/device/cuda/cublaslt_library.h"

#include "comm/device/cuda/cuda_library.h"
#include "comm/error.h"

namespace kvfold {
namespace {

CublasLtLibrary Open() {
  const CudaLibrary library("cuBLASLt", fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR));
  CublasLtLibrary functions;
#define KVFOLD_BIND(name) library.Bind(functions.name, #name);
  KVFOLD_CUBLASLT_FUNCTIONS(KVFOLD_BIND)
#undef KVFOLD_BIND
  functions.path = library.path();
  return functions;
}

}  // namespace

const CublasLtLibrary& CublasLtLibrary::Get() {
  static const CublasLtLibrary functions = Open();
  return functions;
}

void CublasCheck(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(
      fmt::format("{} failed: {}", what, CublasLtLibrary::Get().cublasLtGetStatusString(status)));
}

}  // namespace kvfold
