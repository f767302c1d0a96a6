// A tokenizer.json, and behind a zero byte a text to encode with it.
#include <algorithm>

#include "models/tokenizer/tokenizer_json.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace kvfold;
  const std::string_view input = fuzz::Text(data, size_bytes);
  const size_t json_bytes = std::min(input.find('\0'), size_bytes);
  fuzz::SetMappedBytes(data, json_bytes);
  const std::string_view text = input.substr(std::min(json_bytes + 1, size_bytes));
  fuzz::Attempt([&] { fuzz::UseTokenizer(*OpenTokenizerJson("tokenizer.json"), text); });
  return 0;
}
