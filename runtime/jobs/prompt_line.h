// runtime/jobs/prompt_line.h: one request as users write it: a line of --prompts, or what the
// command line itself asks for.
#pragma once

#include <cstdint>
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

}  // namespace kvfold
