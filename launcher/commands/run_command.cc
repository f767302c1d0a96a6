// kvfold run: one prompt to standard output, or a file of requests to a file of results.
#include <spdlog/spdlog.h>

#include <limits>
#include <span>

#include "launcher/commands/command.h"
#include "launcher/commands/run_task.h"
#include "launcher/options/validators.h"
#include "launcher/ranks/agreement.h"
#include "launcher/ranks/memory_use.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"
#include "runtime/jobs/text_input.h"

namespace kvfold {
namespace {

void AddRunOptions(CLI::App& app, RunOptions& options) {
  AddLoadOptions(app, options.load)->required();
  AddFoldOptions(app, options.fold);
  AddMaxTokensOption(app, options.max_tokens);
  AddOutputOptions(app, options.json);
  auto* prompt = app.add_option("--prompt", options.prompt, "Prompt text");
  auto* prompt_file = app.add_option("--prompt-file", options.prompt_file, "File with the prompt");
  auto* prompts = app.add_option("--prompts", options.prompts, "JSON lines, one request each");
  auto* output = app.add_option("--output", options.output,
                                "JSON lines, one result each (with --prompts); -: standard output");
  prompt->excludes(prompt_file)->excludes(prompts);
  prompt_file->excludes(prompts);
  prompts->needs(output);
  output->needs(prompts);
  app.add_flag("--retry-errors", options.retry_errors,
               "Run requests again whose record in --output is an error")
      ->needs(prompts);
  RequireOneOf(app, {prompt, prompt_file, prompts}, "One of --prompt, --prompt-file and --prompts");
  app.add_option("--document", options.document, "File put before the prompt")->excludes(prompts);
  app.add_flag("--chat", options.chat,
               "Render document and prompt as one user turn of the model's chat template");
  app.add_option("--max-new-tokens", options.max_new_tokens, "Tokens to generate at most")
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature, "0: greedy")
      ->check(FiniteNumber([](double value) { return value >= 0.0; }, "of at least 0"))
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k,
                 "Sample among so many most likely tokens; 0: all")
      ->check(Between(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "Sample among the fewest tokens whose probability reaches this")
      ->check(FiniteNumber([](double value) { return value > 0.0 && value <= 1.0; },
                           "of more than 0 and at most 1"))
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed, "Of the random numbers")
      ->check(Between(uint64_t{0}, std::numeric_limits<uint64_t>::max()))
      ->capture_default_str();
  app.add_option("--concurrency", options.concurrency, "Requests that fold and decode together")
      ->check(Between(int64_t{1}, int64_t{4096}))
      ->capture_default_str()
      ->needs(prompts);
}

int Run(RankGroup& group, const RunOptions& options) {
  Communicator& communicator = group.communicator();
  RankModel model(group, options.load, FoldSettings(options.fold, options.max_tokens));
  std::unique_ptr<RunTask> task;  // rank 0's
  RunForFirst(communicator, [&] {
    if (group.rank() != 0) return;
    ThrowIfStopped(kNothingBegun);
    CheckStandardInput({{"--prompts", options.prompts},
                        {"--prompt-file", options.prompt_file},
                        {"--document", options.document}});
    task = options.prompts.empty() ? MakePromptTask(options, model)
                                   : MakeBatchTask(options, model, group.size());
    ThrowIfStopped(kNothingBegun);
  });
  int32_t empty = task != nullptr && task->empty();
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&empty, 1)), 0);
  if (empty != 0) {
    if (task == nullptr) return 0;
    spdlog::info("nothing left to do");
    task->PrintEnd({});
    return 0;
  }
  const Workload workload = task ? task->workload() : Workload();
  Session& session = model.Load(workload);
  FoldTotals totals;
  model.Drive([&] {
    Scheduler scheduler(session.engine(), session.embeddings(),
                        {.chunk = workload.chunk,
                         .eos_ids = model.config().eos_ids,
                         .concurrency = workload.concurrency});
    task->Run(scheduler);
    totals = scheduler.totals();
  });
  const MemoryUse memory = GatherMemoryUse(group, model.device());
  if (task == nullptr) return 0;
  PrintSummary(totals, task->errors(), memory.peaks());
  task->PrintEnd(totals);
  return 0;
}

}  // namespace

std::function<int()> BindRun(CLI::App& app) {
  const auto options = std::make_shared<RunOptions>();
  AddRunOptions(app, *options);
  return [options] {
    return WithRanks("run", options->load.ranks.step_timeout(),
                     [&](RankGroup& group) { return Run(group, *options); });
  };
}

}  // namespace kvfold
