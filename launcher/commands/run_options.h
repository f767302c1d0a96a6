// launcher/commands/run_options.h: what `run` is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launcher/options/groups.h"
#include "runtime/fold/fold_options.h"
#include "runtime/fold/sampler.h"
#include "runtime/jobs/prompt_line.h"

namespace kvfold {

struct RunOptions {
  LoadOptions load;
  FoldOptions fold;
  int64_t max_tokens = 0;  // 0: what the input needs
  bool json = false;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::string prompts;  // IN.jsonl
  std::string output;   // OUT.jsonl
  bool retry_errors = false;
  std::string document;
  bool chat = false;
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  int64_t concurrency = 1;

  // Of the one prompt, and of what a line of --prompts leaves out.
  PromptLine defaults() const {
    PromptLine line;
    line.max_new_tokens = max_new_tokens;
    line.sampling = sampling;
    return line;
  }
};

}  // namespace kvfold
