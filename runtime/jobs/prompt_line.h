// runtime/jobs/prompt_line.h: one request as users write it: a line of --prompts, or what the
// command line itself asks for.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat_template.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/sampler.h"

namespace kvfold {

// Exactly one of prompt, messages and tokens is given.
struct PromptLine {
  std::string id;
  std::optional<std::string> prompt;
  std::optional<std::vector<ChatMessage>> messages;
  std::string name;  // that a message names its author by, or empty
  std::optional<std::vector<TokenId>> tokens;
  std::string document;  // path, or empty
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop;
};

// A line without what may stand around its JSON: white space of any kind, byte order marks, and
// zero bytes behind it. Empty for a blank line; zero bytes alone are not blank.
std::string_view PromptLineText(std::string_view line);

// Reads a line: fields of its own, {"id", "prompt" | "messages" | "tokens", "document", ...}, or
// {"custom_id", "method", "url", "body"} as OpenAI's batches have them. What it leaves out, or sets
// to null, is taken from `defaults`. Throws InputError naming the field, what was found and what
// was expected; fields that are unknown, or ask for what would change the result, are refused by
// name.
PromptLine ParsePromptLine(std::string_view line, const PromptLine& defaults);

// The id of a line, also of one that ParsePromptLine refuses; empty where there is none to be told.
std::string PromptLineId(std::string_view line);

// The whole of a file. Throws InputError naming it where it cannot be read. `on_wait`: as
// comm/files/read_file.h has it.
std::string ReadTextFile(const std::string& path, const std::function<void()>& on_wait = {});

// Turns prompt lines into token ids.
class PromptEncoder {
 public:
  // `tokenizer` null: only token ids can be run; `tokenizer_trouble` says why. `chat_template`
  // null: neither --chat nor messages; `chat_trouble` says why. Both borrowed.
  PromptEncoder(const Tokenizer* tokenizer, std::string tokenizer_trouble,
                const ChatTemplate* chat_template, std::string chat_trouble, bool chat);

  // The document's text, a blank line, then the prompt; with chat or messages rendered by the
  // template, the document before the first user message. Throws InputError.
  std::vector<TokenId> Encode(const PromptLine& line, std::string_view document_text) const;

 private:
  const Tokenizer* tokenizer_;
  std::string tokenizer_trouble_;
  const ChatTemplate* chat_template_;
  std::string chat_trouble_;
  bool chat_;
};

}  // namespace kvfold
