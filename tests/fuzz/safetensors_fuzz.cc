// A folder with a safetensors file: its header, then every tensor. The same bytes as an index.
#include "models/checkpoint/mapped_checkpoint.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/read_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace kvfold;
  static const fuzz::MarkedFolder single({"model.safetensors"});
  static const fuzz::MarkedFolder index({"model.safetensors.index.json"});
  fuzz::SetMappedBytes(data, size_bytes);
  for (const fuzz::MarkedFolder* const folder : {&single, &index}) {
    fuzz::Attempt([&] { fuzz::ReadTensors(*OpenSafetensorsCheckpoint(folder->path())); });
  }
  return 0;
}
