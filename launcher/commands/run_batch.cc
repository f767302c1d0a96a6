#include "launcher/commands/run_batch.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"

namespace kvfold {
namespace {

// The requests of --prompts on their way to --output.
class Batch {
 public:
  Batch(Scheduler& scheduler, BatchInputs& inputs)
      : scheduler_(scheduler), inputs_(inputs), results_(*inputs.results()) {
    for (const DocumentGroup& group : inputs.groups()) {
      for (const size_t member : group.members) {
        const Job& job = inputs.jobs()[member];
        if (!job.error) tokens_total_ += static_cast<int64_t>(job.request.tokens.size());
      }
      tokens_total_ -= group.shared_tokens * (static_cast<int64_t>(group.members.size()) - 1);
    }
  }

  int64_t Run() {
    for (const DocumentGroup& group : inputs_.groups()) {
      Job& first = inputs_.jobs()[group.members.front()];
      if (first.error) {  // then it is alone
        // One at a time: results in order.
        while (inputs_.concurrency() == 1 && Step()) {
        }
        Fail(first.request.id, first.key, *first.error);
        continue;
      }
      std::vector<Scheduler::Submission> submissions;
      for (const size_t member : group.members)
        submissions.push_back(Submission(inputs_.jobs()[member]));
      const int64_t shared = scheduler_.SubmitTogether(std::move(submissions));
      tokens_total_ +=
          (group.shared_tokens - shared) * (static_cast<int64_t>(group.members.size()) - 1);
      while (scheduler_.waiting() > 0 && Step()) {  // the next are submitted when there is room
      }
    }
    while (Step()) {
    }
    return n_errors_;
  }

 private:
  bool Step() {
    const int64_t n_done = inputs_.already_done() + n_done_;
    if (n_done < inputs_.n_requests()) {
      ThrowIfStopped(fmt::format("{} of {} requests are done; the same command {}", n_done,
                                 inputs_.n_requests(),
                                 results_.keeps_records() ? "goes on" : "begins again"));
    }
    return scheduler_.Step();
  }
  void Fail(const std::string& id, const std::string& key, const Error& error) {
    results_.AppendError(id, key, error);
    spdlog::warn("request {}: {}", id, error.what());
    ++n_errors_;
    ++n_done_;
  }
  Scheduler::Submission Submission(Job& job) {
    Scheduler::Submission submission;
    submission.callbacks.done = [this, id = job.request.id,
                                 key = job.key](const Completion& completion) {
      results_.Append(id, key, completion);
      ++n_done_;
      Tell();
    };
    submission.callbacks.failed = [this, id = job.request.id, key = job.key](const Error& error) {
      Fail(id, key, error);
      Tell();
    };
    submission.callbacks.folded = [this, last = int64_t{0}](int64_t, int64_t,
                                                            int64_t tokens_folded) mutable {
      tokens_done_ += tokens_folded - std::exchange(last, tokens_folded);
      Tell();
    };
    submission.request = std::move(job.request);
    return submission;
  }
  void Tell() {
    progress_.Update(n_done_, static_cast<int64_t>(inputs_.jobs().size()), tokens_done_,
                     tokens_total_);
  }

  Scheduler& scheduler_;
  BatchInputs& inputs_;
  ResultFile& results_;
  Progress progress_{"batch", "request"};
  int64_t n_done_ = 0;
  int64_t n_errors_ = 0;
  int64_t tokens_done_ = 0;
  int64_t tokens_total_ = 0;  // that are folded, those that are shared counted once
};

}  // namespace

void RunSingle(Scheduler& scheduler, BatchInputs& inputs, const RunOptions& options) {
  Progress progress("folding");
  Request& request = inputs.jobs().front().request;
  const auto prompt_tokens = static_cast<int64_t>(request.tokens.size());
  Scheduler::Callbacks callbacks;
  constexpr const char* kUnfinished =
      "the answer was not finished; the same command begins it again";
  OutputFile answer(OutputPlace("-", {}, [] { ThrowIfStopped(kUnfinished); }));
  // The first token's text comes before its chunk is reported: it waits until the bar is closed.
  std::string held;
  bool folded = false;
  const auto print = [&](std::string_view piece) {
    held += piece;
    if (!folded) return;
    answer.Write(std::exchange(held, {}));
  };
  callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens_done) {
    progress.Update(chunk, n_chunks, tokens_done, prompt_tokens);
    folded = chunk == n_chunks;
    if (folded) print("");
  };
  if (!options.model.json) callbacks.text = print;
  callbacks.done = [&](const Completion& completion) {
    answer.Write(options.model.json ? CompletionJson(completion, inputs.transport()) + '\n' : "\n");
  };
  scheduler.Submit(std::move(request), std::move(callbacks));
  do {
    ThrowIfStopped(kUnfinished);
  } while (scheduler.Step());
}

int64_t RunBatch(Scheduler& scheduler, BatchInputs& inputs) {
  return Batch(scheduler, inputs).Run();
}

void PrintBatchJson(const FoldTotals& totals, int64_t done, int64_t already_done, int64_t errors) {
  const nlohmann::ordered_json object = {
      {"done", done},
      {"done_before", already_done},
      {"errors", errors},
      {"prompt_tokens", totals.folded_tokens + totals.shared_tokens},
      {"shared_tokens", totals.shared_tokens},
      {"new_tokens", totals.new_tokens},
      {"fold_s", totals.fold_s},
      {"decode_s", totals.decode_s}};
  fmt::print("{}\n", object.dump());
}

}  // namespace kvfold
