// A GGUF file: header, metadata and tensor directory, then all that is made of them: config, every
// tensor's elements, tokenizer, chat template.
#include "models/chat_template.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/config_gguf.h"
#include "models/tokenizer/tokenizer_gguf.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/read_tensors.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace kvfold;
  const std::filesystem::path path = "input.gguf";
  fuzz::SetMappedBytes(data, size_bytes);
  fuzz::Attempt([&] { ReadGgufConfig(path, {}); });
  fuzz::Attempt([&] { fuzz::ReadTensors(*OpenGgufCheckpoint(path)); });
  fuzz::Attempt([&] { fuzz::UseTokenizer(*OpenTokenizerGguf(path), "part of the input"); });
  fuzz::Attempt([&] { ChatTemplate::Open(path); });
  return 0;
}
