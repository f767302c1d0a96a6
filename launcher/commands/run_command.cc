// kvfold run: one prompt to standard output, or a file of requests to a file of results.
#include <spdlog/spdlog.h>

#include <span>

#include "launcher/batch_inputs.h"
#include "launcher/commands/commands.h"
#include "launcher/commands/run_batch.h"
#include "launcher/ranks/agreement.h"
#include "launcher/ranks/loaded_model.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"

namespace kvfold {
namespace {

constexpr const char* kNothingBegun = "nothing was begun; the same command goes on";

int Run(RankGroup& group, const RunOptions& options) {
  Communicator& communicator = group.communicator();
  LoadedModel model(group, options.model);
  std::unique_ptr<BatchInputs> inputs;
  EngineOptions sizes;
  int64_t n_jobs = 0;
  RunForFirst(communicator, [&] {
    if (group.rank() != 0) return;
    ThrowIfStopped(kNothingBegun);
    inputs = std::make_unique<BatchInputs>(options, model, group.size());
    sizes = inputs->Sizes();
    n_jobs = static_cast<int64_t>(inputs->jobs().size());
    if (inputs->already_done() > 0)
      spdlog::info("{} of {} requests were done before", inputs->already_done(),
                   inputs->n_requests());
    ThrowIfStopped(kNothingBegun);
  });
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&n_jobs, 1)), 0);
  FoldTotals totals;
  int64_t errors = 0;
  const auto print_json = [&] {
    if (group.rank() == 0 && inputs->results() != nullptr && options.model.json)
      PrintBatchJson(totals, n_jobs, inputs->already_done(), errors);
  };
  if (n_jobs == 0) {
    if (group.rank() == 0) spdlog::info("nothing left to do");
    print_json();
    return 0;
  }
  model.Load(sizes);
  model.Drive([&] {
    Scheduler scheduler(model.engine(), model.embeddings(), inputs->tokenizer(),
                        {.chunk = sizes.max_chunk,
                         .eos_ids = model.config().eos_ids,
                         .concurrency = inputs->concurrency()});
    if (inputs->results() == nullptr) {
      RunSingle(scheduler, *inputs, options);
    } else {
      errors = RunBatch(scheduler, *inputs);
    }
    totals = scheduler.totals();
  });
  const std::vector<int64_t> peaks = model.PeakBytes();
  if (group.rank() == 0) PrintSummary(totals, errors, peaks);
  print_json();
  return 0;
}

}  // namespace

int RunCommand(const RunOptions& options) {
  return WithRanks("run", options.model.step_timeout(),
                   [&](RankGroup& group) { return Run(group, options); });
}

}  // namespace kvfold
