#include "runtime/jobs/prompt_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {

PromptEncoder::PromptEncoder(const Tokenizer* tokenizer, std::string tokenizer_problem,
                             const ChatTemplate* chat_template, std::string chat_problem, bool chat)
    : tokenizer_(tokenizer),
      tokenizer_problem_(std::move(tokenizer_problem)),
      chat_template_(chat_template),
      chat_problem_(std::move(chat_problem)),
      chat_(chat) {}

std::vector<TokenId> PromptEncoder::Encode(const PromptLine& line,
                                           std::string_view document_text) const {
  if (line.tokens) {
    if (!line.document.empty())
      throw InputError("\"document\" cannot be put before \"tokens\": give the tokens of both");
    return *line.tokens;
  }
  if (tokenizer_ == nullptr) throw InputError(tokenizer_problem_);
  const auto with_document = [&](const std::string& text) {
    return line.document.empty() ? text : fmt::format("{}\n\n{}", document_text, text);
  };
  if (!line.messages && !chat_)
    return tokenizer_->Encode(with_document(*line.prompt), /*add_special=*/true);
  if (chat_template_ == nullptr) throw InputError(chat_problem_);
  if (!line.name.empty() && chat_template_->MayReadNames()) {
    throw InputError(fmt::format(
        "a message has the name {}, which this model's chat template may write: not supported",
        Quoted(line.name)));
  }
  std::vector<ChatMessage> messages =
      line.messages.value_or(std::vector<ChatMessage>{{"user", line.prompt.value_or("")}});
  const auto first_user = std::ranges::find(messages, "user", &ChatMessage::role);
  if (!line.document.empty()) {
    if (first_user == messages.end())
      throw InputError("\"document\" goes before a user message, \"messages\" has none");
    first_user->content = with_document(first_user->content);
  }
  return tokenizer_->Encode(chat_template_->Render(messages), /*add_special=*/false);
}

}  // namespace kvfold
