#include "comm/nccl/nccl_library.h"

#include "comm/device/cuda/cuda_library.h"
#include "comm/error.h"

namespace kvfold {
namespace {

NcclLibrary Open() {
  const CudaLibrary library("NCCL", "libnccl.so.2");
  NcclLibrary functions;
#define KVFOLD_BIND(name) library.Bind(functions.name, #name);
  KVFOLD_NCCL_FUNCTIONS(KVFOLD_BIND)
#undef KVFOLD_BIND
  functions.path = library.path();
  return functions;
}

}  // namespace

const NcclLibrary& NcclLibrary::Get() {
  static const NcclLibrary functions = Open();
  return functions;
}

int NcclLibrary::Version() const {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) {
    throw DeviceError(fmt::format("NCCL ({}) does not tell its version", path));
  }
  return version;
}

std::string NcclVersionText(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace kvfold
