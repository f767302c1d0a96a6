// kvfold run --prompts: a file of requests to a file of their results.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/commands/run_task.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"
#include "runtime/jobs/batch.h"

namespace kvfold {
namespace {

OutputPlace Output(const RunOptions& options, const RankModel& model) {
  std::vector<NamedFile> others = {ReadBy("--prompts", options.prompts),
                                   ReadBy("--model", model.path())};
  // Into "-" the log may go too, where both are sent to one file: neither writes over the other.
  if (options.output != "-") others.push_back(StandardError());
  if (options.json) others.push_back(StandardOutput("--json"));
  return OutputPlace(options.output, std::move(others),
                     [] { ThrowIfStopped("not all was written; the same command begins again"); });
}

// The requests of --prompts on their way to --output.
class BatchTask : public RunTask {
 public:
  BatchTask(const RunOptions& options, const RankModel& model, int n_ranks)
      : json_(options.json),
        batch_({.prompts = options.prompts,
                .retry_errors = options.retry_errors,
                .chat = options.chat,
                .defaults = options.defaults(),
                .fold = options.fold,
                .max_tokens = options.max_tokens,
                .concurrency = options.concurrency,
                .on_wait = [] { ThrowIfStopped(kNothingBegun); }},
               {.path = model.path(),
                .config = &model.config(),
                .fingerprint = model.fingerprint(),
                .n_ranks = n_ranks,
                .dtype = model.dtype(),
                .kv_dtype = model.kv_dtype(),
                .sum_dtype = model.sum_dtype(),
                .transport = model.device().transport()},
               Output(options, model)),
        results_(batch_.results()) {
    if (batch_.already_done() > 0) {
      spdlog::info("{} of {} requests were done before", batch_.already_done(),
                   batch_.n_requests());
    }
    for (const DocumentGroup& group : batch_.groups()) {
      for (const size_t member : group.members) {
        const Job& job = batch_.jobs()[member];
        if (!job.error) tokens_total_ += static_cast<int64_t>(job.request.tokens.size());
      }
      tokens_total_ -= group.shared_tokens * (static_cast<int64_t>(group.members.size()) - 1);
    }
  }

  bool empty() const override { return batch_.jobs().empty(); }
  Workload workload() const override { return batch_.workload(); }
  int64_t errors() const override { return n_errors_; }

  void Run(Scheduler& scheduler) override {
    scheduler_ = &scheduler;
    for (const DocumentGroup& group : batch_.groups()) {
      Job& first = batch_.jobs()[group.members.front()];
      if (first.error) {  // then it is alone
        // One at a time: results in order.
        while (batch_.concurrency() == 1 && Step()) {
        }
        Fail(first.request.id, first.key, *first.error);
        continue;
      }
      std::vector<Scheduler::Submission> submissions;
      for (const size_t member : group.members)
        submissions.push_back(Submission(batch_.jobs()[member]));
      const int64_t shared = scheduler.SubmitTogether(std::move(submissions));
      tokens_total_ +=
          (group.shared_tokens - shared) * (static_cast<int64_t>(group.members.size()) - 1);
      while (scheduler.waiting() > 0 && Step()) {  // the next are submitted when there is room
      }
    }
    while (Step()) {
    }
  }

  void PrintEnd(const FoldTotals& totals) const override {
    if (!json_) return;
    const nlohmann::ordered_json object = {
        {"done", static_cast<int64_t>(batch_.jobs().size())},
        {"done_before", batch_.already_done()},
        {"errors", n_errors_},
        {"prompt_tokens", totals.folded_tokens + totals.shared_tokens},
        {"shared_tokens", totals.shared_tokens},
        {"new_tokens", totals.new_tokens},
        {"fold_s", totals.fold_s},
        {"decode_s", totals.decode_s}};
    fmt::print("{}\n", object.dump());
  }

 private:
  bool Step() {
    const int64_t n_done = batch_.already_done() + n_done_;
    if (n_done < batch_.n_requests()) {
      ThrowIfStopped(fmt::format("{} of {} requests are done; the same command {}", n_done,
                                 batch_.n_requests(),
                                 results_.keeps_records() ? "goes on" : "begins again"));
    }
    return scheduler_->Step();
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
    submission.reply = batch_.MakeReply(job.request);
    submission.request = std::move(job.request);
    submission.checked = true;
    return submission;
  }
  void Tell() {
    progress_.Update(n_done_, static_cast<int64_t>(batch_.jobs().size()), tokens_done_,
                     tokens_total_);
  }

  bool json_;
  Batch batch_;
  ResultFile& results_;
  Scheduler* scheduler_ = nullptr;
  Progress progress_{"batch", "request"};
  int64_t n_done_ = 0;
  int64_t n_errors_ = 0;
  int64_t tokens_done_ = 0;
  int64_t tokens_total_ = 0;  // that are folded, those that are shared counted once
};

}  // namespace

std::unique_ptr<RunTask> MakeBatchTask(const RunOptions& options, const RankModel& model,
                                       int n_ranks) {
  return std::make_unique<BatchTask>(options, model, n_ranks);
}

}  // namespace kvfold
