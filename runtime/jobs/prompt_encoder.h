// runtime/jobs/prompt_encoder.h: what a request asks, as the model's token ids.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/chat_template.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/jobs/prompt_line.h"

namespace kvfold {

// Turns prompt lines into token ids.
class PromptEncoder {
 public:
  // `tokenizer` null: only token ids can be run; `tokenizer_problem` says why. `chat_template`
  // null: neither --chat nor messages; `chat_problem` says why. Both borrowed.
  PromptEncoder(const Tokenizer* tokenizer, std::string tokenizer_problem,
                const ChatTemplate* chat_template, std::string chat_problem, bool chat);

  // The document's text, a blank line, then the prompt; with chat or messages rendered by the
  // template, the document before the first user message. Throws InputError.
  std::vector<TokenId> Encode(const PromptLine& line, std::string_view document_text) const;

 private:
  const Tokenizer* tokenizer_;
  std::string tokenizer_problem_;
  const ChatTemplate* chat_template_;
  std::string chat_problem_;
  bool chat_;
};

}  // namespace kvfold
