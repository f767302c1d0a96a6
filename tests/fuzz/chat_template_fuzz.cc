// A model's chat template (Jinja), and behind a zero byte what a user says; and the same bytes as a
// tokenizer_config.json.
#include <algorithm>
#include <vector>

#include "models/chat/jinja_evaluator.h"
#include "models/chat/jinja_parser.h"
#include "models/chat_template.h"
#include "models/tokenizer/utf8.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace kvfold;
  static const fuzz::MarkedFolder folder({"tokenizer_config.json"});
  const std::string_view input = fuzz::Text(data, size_bytes);
  const size_t source_bytes = std::min(input.find('\0'), size_bytes);
  const std::string source(input.substr(0, source_bytes));
  const std::string said(input.substr(std::min(source_bytes + 1, size_bytes)));
  const std::vector<ChatMessage> messages = {
      {"system", " about\n"}, {"user", said}, {"assistant", "answer"}, {"user", said}};
  fuzz::Attempt([&] {
    if (FindInvalidUtf8(said) != std::string_view::npos) return;
    const std::vector<jinja::Statement> statements = jinja::Parse(source);
    jinja::Render(statements, messages, {{"bos_token", "<s>"}});
  });
  fuzz::Attempt([&] { ChatTemplate::Parse(source, {{"bos_token", "<s>"}})->Render(messages); });
  fuzz::SetMappedBytes(data, source_bytes);
  fuzz::Attempt([&] { ChatTemplate::Open(folder.path()); });
  return 0;
}
