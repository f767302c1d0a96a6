// One line of --prompts.
#include "runtime/jobs/prompt_line.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace kvfold;
  fuzz::Attempt([&] { ParsePromptLine(fuzz::Text(data, size_bytes), PromptLine{}); });
  return 0;
}
