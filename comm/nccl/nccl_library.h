// comm/nccl/nccl_library.h: NCCL's functions, opened at first use
// (comm/device/cuda/cuda_library.h). A table rather than the linked library, so that a program
// without a GPU never loads 200 MB, and so that tests can put functions of their own in its place.
#pragma once

#include <nccl.h>

#include <string>

// Every function that kvfold calls.
#define KVFOLD_NCCL_FUNCTIONS(X) \
  X(ncclGetVersion)              \
  X(ncclGetUniqueId)             \
  X(ncclCommInitRankConfig)      \
  X(ncclCommFinalize)            \
  X(ncclCommDestroy)             \
  X(ncclCommAbort)               \
  X(ncclCommGetAsyncError)       \
  X(ncclGetErrorString)          \
  X(ncclGetLastError)            \
  X(ncclAllReduce)               \
  X(ncclAllGather)

namespace kvfold {

struct NcclLibrary {
#define KVFOLD_DECLARE(name) decltype(&::name) name = nullptr;
  KVFOLD_NCCL_FUNCTIONS(KVFOLD_DECLARE)
#undef KVFOLD_DECLARE
  std::string path;

  // Thread-safe; a failure is tried again at the next call. Throws DeviceError where there is none.
  static const NcclLibrary& Get();
  int Version() const;  // 23007 is 2.30.7
};

// "2.30.7".
std::string NcclVersionText(int version);

}  // namespace kvfold
