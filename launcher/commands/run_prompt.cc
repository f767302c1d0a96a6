// kvfold run --prompt: one prompt, its text to standard output as it comes.
#include <utility>

#include "comm/files/output_file.h"
#include "launcher/commands/run_task.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"
#include "runtime/jobs/request_maker.h"
#include "runtime/jobs/result_record.h"
#include "runtime/jobs/text_input.h"

namespace kvfold {
namespace {

constexpr const char* kUnfinished = "the answer was not finished; the same command begins it again";

std::string Read(const std::string& path) {
  return AsText(ReadInput(path, [] { ThrowIfStopped(kNothingBegun); }), InputName(path));
}

class PromptTask : public RunTask {
 public:
  PromptTask(const RunOptions& options, const RankModel& model)
      : options_(options),
        transport_(model.device().transport()),
        requests_(model.path(), model.config(), options.chat, options.max_tokens) {
    PromptLine line = options.defaults();
    line.id = "prompt";
    line.prompt = options.prompt ? *options.prompt : Read(options.prompt_file);
    line.document = options.document;
    request_ = requests_.Make(line, line.document.empty() ? "" : Read(line.document));
    const auto n_tokens = static_cast<int64_t>(request_.tokens.size());
    workload_ = {
        .tokens = options.max_tokens > 0 ? options.max_tokens : Scheduler::CacheTokens(request_),
        .chunk = options.fold.ChunkOf(n_tokens)};
  }

  Workload workload() const override { return workload_; }

  void Run(Scheduler& scheduler) override {
    Progress progress("folding");
    const auto prompt_tokens = static_cast<int64_t>(request_.tokens.size());
    Scheduler::Callbacks callbacks;
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
    if (!options_.json) callbacks.text = print;
    callbacks.done = [&](const Completion& completion) {
      answer.Write(options_.json ? CompletionJson(completion, transport_) + '\n' : "\n");
    };
    auto reply = requests_.MakeReply(request_);
    scheduler.Submit(
        {std::move(request_), std::move(callbacks), std::move(reply), /*checked=*/true});
    do {
      ThrowIfStopped(kUnfinished);
    } while (scheduler.Step());
  }

 private:
  const RunOptions& options_;
  std::string transport_;
  RequestMaker requests_;
  Request request_;
  Workload workload_;
};

}  // namespace

std::unique_ptr<RunTask> MakePromptTask(const RunOptions& options, const RankModel& model) {
  return std::make_unique<PromptTask>(options, model);
}

}  // namespace kvfold
