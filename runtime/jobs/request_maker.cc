#include "runtime/jobs/request_maker.h"

#include <fmt/format.h>

#include <limits>

#include "comm/error.h"
#include "models/chat/turn_end.h"

namespace kvfold {

RequestMaker::RequestMaker(const std::filesystem::path& model, const ModelConfig& config, bool chat,
                           int64_t max_tokens)
    : config_(config),
      chat_(chat),
      max_tokens_(max_tokens > 0 ? max_tokens : std::numeric_limits<int64_t>::max()) {
  try {
    tokenizer_ = Tokenizer::Open(model);
  } catch (const InputError& error) {
    tokenizer_problem_ = fmt::format(
        "{}: give token ids, as the field \"tokens\" of a line of --prompts", error.what());
  }
  replies_.emplace(tokenizer_.get());
  try {
    chat_template_ = ChatTemplate::Open(model);
  } catch (const InputError& error) {
    chat_problem_ = error.what();
  }
  if (chat_template_ != nullptr && tokenizer_ != nullptr)
    turn_end_ids_ = TurnEndIds(model, *chat_template_, *tokenizer_);
}

Request RequestMaker::Make(const PromptLine& line, std::string_view document) const {
  const PromptEncoder encoder(tokenizer_.get(), tokenizer_problem_, chat_template_.get(),
                              chat_problem_, chat_);
  Request request;
  request.id = line.id;
  request.tokens = encoder.Encode(line, document);
  request.max_new_tokens = line.max_new_tokens;
  request.sampling = line.sampling;
  request.stop = line.stop;
  if (line.messages || (chat_ && !line.tokens)) request.end_ids = turn_end_ids_;
  if (!line.stop.empty() && tokenizer_ == nullptr) throw InputError(tokenizer_problem_);
  Scheduler::Check(request, config_, max_tokens_);
  return request;
}

}  // namespace kvfold
