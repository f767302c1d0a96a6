// launcher/commands/run_task.h: what rank 0 does in `run`: one prompt, or a batch. Made before
// anything is loaded, so that what cannot be run is said at once.
#pragma once

#include <cstdint>
#include <memory>

#include "launcher/commands/run_options.h"
#include "launcher/ranks/rank_model.h"
#include "runtime/fold/engine_options.h"
#include "runtime/fold/scheduler.h"

namespace kvfold {

class RunTask {
 public:
  virtual ~RunTask() = default;

  virtual bool empty() const { return false; }  // all was done before
  virtual Workload workload() const = 0;
  // Runs it all. Throws StoppedError between two steps when a signal has come.
  virtual void Run(Scheduler& scheduler) = 0;
  virtual int64_t errors() const { return 0; }  // records that are errors
  // What --json says at the end.
  virtual void PrintEnd(const FoldTotals&) const {}
};

// Said where a signal comes before the first step.
inline constexpr const char* kNothingBegun = "nothing was begun; the same command goes on";

// Both throw InputError where nothing can be run.
std::unique_ptr<RunTask> MakePromptTask(const RunOptions& options, const RankModel& model);
std::unique_ptr<RunTask> MakeBatchTask(const RunOptions& options, const RankModel& model,
                                       int n_ranks);

}  // namespace kvfold
