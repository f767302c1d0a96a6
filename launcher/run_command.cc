// kvfold run: one prompt to standard output, or a file of requests to a file of results.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <sstream>

#include "launcher/agreement.h"
#include "launcher/commands.h"
#include "launcher/loaded_model.h"
#include "launcher/report.h"
#include "models/chat_template.h"
#include "runtime/jobs/prompt_line.h"
#include "runtime/jobs/request_hash.h"
#include "runtime/jobs/result_file.h"

namespace kvfold {
namespace {

// A request that is ready, or the reason why it is not.
struct Job {
  std::string key;
  Request request;
  std::optional<InputError> error;
};

void Add(RunTotals& totals, const Completion& completion) {
  totals.prompt_tokens += completion.prompt_tokens;
  const auto new_tokens = static_cast<int64_t>(completion.tokens.size());
  totals.new_tokens += new_tokens;
  totals.decoded_tokens += std::max<int64_t>(0, new_tokens - 1);
  totals.chunks += completion.chunks;
  totals.fold_s += completion.fold_s;
  totals.decode_s += completion.decode_s;
}

// Rank 0's side of `run`: reads and encodes what is asked for.
class Inputs {
 public:
  Inputs(const RunOptions& options, const LoadedModel& model, int ranks)
      : options_(options), model_(model), ranks_(ranks) {
    CheckSamplingOptions(options.sampling);
    try {
      tokenizer_ = Tokenizer::Open(model.path());
    } catch (const InputError& error) {
      tokenizer_trouble_ = fmt::format(
          "{}: give token ids, as the field \"tokens\" of a line of --prompts", error.what());
    }
    try {
      chat_template_ = ChatTemplate::Open(model.path());
    } catch (const InputError& error) {
      chat_trouble_ = error.what();
    }
    if (options.prompts.empty()) {
      jobs_.push_back(Single());
      if (jobs_.front().error) throw *jobs_.front().error;
      return;
    }
    results_ = std::make_unique<ResultFile>(options.output);
    ReadBatch();
  }

  std::vector<Job>& jobs() { return jobs_; }
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  ResultFile* results() { return results_.get(); }
  int64_t already_done() const { return already_done_; }

  EngineOptions Sizes() const {
    EngineOptions sizes;
    int64_t longest = 1;
    int64_t longest_prompt = 1;
    for (const Job& job : jobs_) {
      if (job.error) continue;
      longest = std::max(longest, Scheduler::CacheTokens(job.request));
      longest_prompt = std::max(longest_prompt, static_cast<int64_t>(job.request.tokens.size()));
    }
    sizes.max_sequences =
        std::clamp<int64_t>(options_.concurrency, 1, std::max<size_t>(1, jobs_.size()));
    sizes.max_tokens =
        options_.model.max_tokens > 0 ? options_.model.max_tokens : longest * sizes.max_sequences;
    sizes.max_chunk = Chunk(longest_prompt);
    sizes.max_step_rows = sizes.max_chunk * sizes.max_sequences;
    sizes.max_gather_rows = sizes.max_sequences;
    sizes.max_logit_rows = std::max(kRowPadding, sizes.max_sequences);
    return sizes;
  }

  int64_t Chunk(int64_t longest_prompt) const {
    return options_.model.attention_mode() == AttentionMode::kFull
               ? longest_prompt
               : std::min(options_.model.chunk, longest_prompt);
  }

 private:
  PromptLine Defaults() const {
    PromptLine line;
    line.max_new_tokens = options_.max_new_tokens;
    line.sampling = options_.sampling;
    return line;
  }

  Job Single() {
    PromptLine line = Defaults();
    line.id = "prompt";
    line.document = options_.document;
    line.prompt = options_.prompt ? *options_.prompt : ReadTextFile(options_.prompt_file);
    return MakeJob(line, "");
  }

  void ReadBatch() {
    std::istringstream lines(ReadTextFile(options_.prompts));
    std::set<std::string> ids;
    std::string text;
    for (int64_t number = 1; std::getline(lines, text); ++number) {
      if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
      PromptLine line;
      try {
        line = ParsePromptLine(text, Defaults());
        if (!ids.insert(line.id).second)
          throw InputError(fmt::format("id \"{}\" stands there twice", line.id));
      } catch (const InputError& error) {
        throw InputError(fmt::format("{}, line {}: {}", options_.prompts, number, error.what()));
      }
      Job job = MakeJob(line, text);
      if (results_->Done(line.id, job.key)) {
        ++already_done_;
      } else {
        jobs_.push_back(std::move(job));
      }
    }
  }

  Job MakeJob(const PromptLine& line, const std::string& text) {
    Job job;
    job.request.id = line.id;
    std::string document;
    try {
      if (!line.document.empty()) document = ReadTextFile(line.document);
    } catch (const InputError& error) {
      job.error = error;
    }
    const ModelOptions& m = options_.model;
    job.key = RequestHash(
        {text, document, fmt::format("{:016x}", model_.fingerprint()),
         fmt::format("{} {} {} {} {} {} {}", ranks_, m.chunk, m.attention,
                     DTypeName(model_.dtype()), DTypeName(CacheDType(m, model_.dtype())),
                     options_.chat, line.max_new_tokens),
         fmt::format("{} {} {} {}", line.sampling.temperature, line.sampling.top_k,
                     line.sampling.top_p, line.sampling.seed)});
    if (job.error) return job;
    try {
      const PromptEncoder encoder(tokenizer_.get(), tokenizer_trouble_, chat_template_.get(),
                                  chat_trouble_, options_.chat);
      job.request.tokens = encoder.Encode(line, document);
      if (job.request.tokens.empty())
        throw InputError("the prompt is empty, expected at least one token");
      job.request.max_new_tokens = line.max_new_tokens;
      job.request.sampling = line.sampling;
      job.request.stop = line.stop;
      if (!line.stop.empty() && tokenizer_ == nullptr) throw InputError(tokenizer_trouble_);
    } catch (const InputError& error) {
      job.error = error;
    }
    return job;
  }

  const RunOptions& options_;
  const LoadedModel& model_;
  int ranks_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string tokenizer_trouble_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::string chat_trouble_;
  std::unique_ptr<ResultFile> results_;
  std::vector<Job> jobs_;
  int64_t already_done_ = 0;
};

void RunSingle(Scheduler& scheduler, Inputs& inputs, const RunOptions& options, RunTotals& totals) {
  Progress progress("folding");
  Request& request = inputs.jobs().front().request;
  const auto prompt_tokens = static_cast<int64_t>(request.tokens.size());
  Scheduler::Callbacks callbacks;
  // The first token's text comes before its chunk is reported: it waits until the bar is closed.
  std::string held;
  bool folded = false;
  const auto print = [&](std::string_view piece) {
    held += piece;
    if (!folded) return;
    fmt::print("{}", std::exchange(held, {}));
    std::fflush(stdout);
  };
  callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens_done) {
    progress.Update(chunk, n_chunks, tokens_done, prompt_tokens);
    folded = chunk == n_chunks;
    if (folded) print("");
  };
  if (!options.model.json) callbacks.text = print;
  callbacks.done = [&](const Completion& completion) {
    Add(totals, completion);
    if (options.model.json) {
      fmt::print("{}\n", CompletionJson(completion));
    } else {
      fmt::print("\n");
    }
    std::fflush(stdout);
  };
  scheduler.Submit(std::move(request), std::move(callbacks));
  while (scheduler.Step()) {
  }
}

void RunBatch(Scheduler& scheduler, Inputs& inputs, int64_t concurrency, RunTotals& totals) {
  ResultFile& results = *inputs.results();
  Progress progress("batch", "request");
  const auto n_jobs = static_cast<int64_t>(inputs.jobs().size());
  int64_t n_done = 0;
  int64_t tokens_done = 0;
  int64_t tokens_total = 0;
  for (const Job& job : inputs.jobs()) {
    if (!job.error) tokens_total += static_cast<int64_t>(job.request.tokens.size());
  }
  for (Job& job : inputs.jobs()) {
    const std::string id = job.request.id;
    const auto n_tokens = static_cast<int64_t>(job.request.tokens.size());
    const auto fail = [&, id, key = job.key](const Error& error) {
      while (concurrency == 1 && scheduler.Step()) {  // one at a time: results in order
      }
      results.AppendError(id, key, error);
      spdlog::warn("request {}: {}", id, error.what());
      ++totals.errors;
      ++n_done;
    };
    if (job.error) {
      fail(*job.error);
      continue;
    }
    Scheduler::Callbacks callbacks;
    callbacks.done = [&, id, key = job.key](const Completion& completion) {
      results.Append(id, key, completion);
      Add(totals, completion);
      progress.Update(++n_done, n_jobs, tokens_done, tokens_total);
    };
    callbacks.folded = [&, last = int64_t{0}](int64_t, int64_t, int64_t tokens_folded) mutable {
      tokens_done += tokens_folded - std::exchange(last, tokens_folded);
      progress.Update(n_done, n_jobs, tokens_done, tokens_total);
    };
    try {
      scheduler.Submit(std::move(job.request), std::move(callbacks));
    } catch (const InputError& error) {
      tokens_total -= n_tokens;
      fail(error);
      continue;
    }
    while (scheduler.waiting() > 0 && scheduler.Step()) {  // the next is read when there is room
    }
  }
  while (scheduler.Step()) {
  }
}

// --json of a batch: its results are in --output.
void PrintBatchJson(const RunTotals& totals, int64_t done, int64_t already_done) {
  const nlohmann::ordered_json object = {{"done", done},
                                         {"done_before", already_done},
                                         {"errors", totals.errors},
                                         {"prompt_tokens", totals.prompt_tokens},
                                         {"new_tokens", totals.new_tokens},
                                         {"fold_s", totals.fold_s},
                                         {"decode_s", totals.decode_s}};
  fmt::print("{}\n", object.dump());
}

int Run(RankGroup& group, const RunOptions& options) {
  LoadedModel model(group, options.model);
  std::unique_ptr<Inputs> inputs;
  EngineOptions sizes;
  int64_t n_jobs = 0;
  RunForFirst(group.communicator(), [&] {
    if (group.rank() != 0) return;
    inputs = std::make_unique<Inputs>(options, model, group.size());
    sizes = inputs->Sizes();
    n_jobs = static_cast<int64_t>(inputs->jobs().size());
    if (inputs->already_done() > 0)
      spdlog::info("{} of {} requests were done before", inputs->already_done(),
                   inputs->already_done() + n_jobs);
  });
  group.communicator().BroadcastBytes(std::as_writable_bytes(std::span(&n_jobs, 1)), 0);
  RunTotals totals;
  totals.concurrency = sizes.max_sequences;
  const auto print_json = [&] {
    if (group.rank() == 0 && inputs->results() != nullptr && options.model.json)
      PrintBatchJson(totals, n_jobs, inputs->already_done());
  };
  if (n_jobs == 0) {
    if (group.rank() == 0) spdlog::info("nothing left to do");
    print_json();
    return 0;
  }
  model.Load(sizes);
  model.Drive([&] {
    SchedulerOptions scheduler_options{sizes.max_chunk, model.config().eos_ids};
    Scheduler scheduler(model.engine(), model.embeddings(), inputs->tokenizer(), scheduler_options);
    if (inputs->results() == nullptr) {
      RunSingle(scheduler, *inputs, options, totals);
    } else {
      RunBatch(scheduler, *inputs, options.concurrency, totals);
    }
  });
  const std::vector<int64_t> peaks = model.PeakBytes();
  if (group.rank() == 0) PrintRunSummary(totals, peaks);
  print_json();
  return 0;
}

}  // namespace

int RunCommand(const RunOptions& options) {
  return WithRanks("run", [&](RankGroup& group) { return Run(group, options); });
}

}  // namespace kvfold
