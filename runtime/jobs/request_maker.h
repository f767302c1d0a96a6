// runtime/jobs/request_maker.h: from what users write to a request that the scheduler takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "models/chat_template.h"
#include "models/model_config.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/reply.h"
#include "runtime/fold/scheduler.h"
#include "runtime/jobs/prompt_encoder.h"
#include "runtime/jobs/prompt_line.h"

namespace kvfold {

class RequestMaker {
 public:
  // Opens the model's tokenizer and chat template; what it lacks is said where a request needs it.
  // chat: prompts are rendered by the template. max_tokens: positions of the cache; 0: as many as
  // are needed. `config` must outlive it.
  RequestMaker(const std::filesystem::path& model, const ModelConfig& config, bool chat,
               int64_t max_tokens);

  // Checked (Scheduler::Check). `document`: the text that stands before the prompt, where the line
  // names one. Throws InputError where it can never run.
  Request Make(const PromptLine& line, std::string_view document) const;
  // For a request of this maker, which must outlive it; null where the model has no tokenizer.
  std::unique_ptr<Reply> MakeReply(const Request& request) { return replies_->Make(request.stop); }

 private:
  const ModelConfig& config_;
  bool chat_;
  int64_t max_tokens_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ReplyMaker> replies_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::string tokenizer_problem_;
  std::string chat_problem_;
  std::vector<TokenId> turn_end_ids_;  // of requests that are chats
};

}  // namespace kvfold
