// launcher/commands/run_batch.h: `run`, once the model is loaded: requests through the scheduler,
// results to standard output or to a file of records.
#pragma once

#include <cstdint>

#include "launcher/batch_inputs.h"
#include "launcher/options.h"
#include "runtime/fold/scheduler.h"

namespace kvfold {

// Both throw StoppedError between two steps when a signal has come.
void RunSingle(Scheduler& scheduler, BatchInputs& inputs, const RunOptions& options);
// Appends a record a request, in the order of the groups and of the requests within them; with a
// concurrency above 1, as they end. Returns how many of the records are errors.
int64_t RunBatch(Scheduler& scheduler, BatchInputs& inputs);

// --json of a batch, whose results are in --output.
void PrintBatchJson(const FoldTotals& totals, int64_t done, int64_t already_done, int64_t errors);

}  // namespace kvfold
