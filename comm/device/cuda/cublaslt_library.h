// comm/device/cuda/cublaslt_library.h: cuBLASLt's functions, opened at first use.
//
//   const CublasLtLibrary& lt = CublasLtLibrary::Get();   // throws DeviceError where there is none
//   CublasCheck(lt.cublasLtMatmul(...), "the product of ...");
#pragma once

#include <cublasLt.h>

#include <string>
#include <string_view>

// Every function that kvfold calls. (The ...Init functions of the headers are inline and call the
// _internal ones: use Create and Destroy.)
#define KVFOLD_CUBLASLT_FUNCTIONS(X)      \
  X(cublasLtCreate)                       \
  X(cublasLtDestroy)                      \
  X(cublasLtGetVersion)                   \
  X(cublasLtGetStatusString)              \
  X(cublasLtMatmul)                       \
  X(cublasLtMatmulAlgoCheck)              \
  X(cublasLtMatmulAlgoConfigGetAttribute) \
  X(cublasLtMatmulAlgoGetHeuristic)       \
  X(cublasLtMatmulDescCreate)             \
  X(cublasLtMatmulDescDestroy)            \
  X(cublasLtMatmulDescSetAttribute)       \
  X(cublasLtMatmulPreferenceCreate)       \
  X(cublasLtMatmulPreferenceDestroy)      \
  X(cublasLtMatmulPreferenceSetAttribute) \
  X(cublasLtMatrixLayoutCreate)           \
  X(cublasLtMatrixLayoutDestroy)          \
  X(cublasLtMatrixLayoutSetAttribute)

namespace kvfold {

struct CublasLtLibrary {
#define KVFOLD_DECLARE(name) decltype(&::name) name = nullptr;
  KVFOLD_CUBLASLT_FUNCTIONS(KVFOLD_DECLARE)
#undef KVFOLD_DECLARE
  std::string path;

  // Thread-safe; a failure is tried again at the next call.
  static const CublasLtLibrary& Get();
};

// Throws DeviceError ("WHAT failed: CUBLAS_STATUS_...") if `status` is not success.
void CublasCheck(cublasStatus_t status, std::string_view what);

}  // namespace kvfold
