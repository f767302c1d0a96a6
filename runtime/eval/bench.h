// runtime/eval/bench.h: folds and decodes synthetic tokens and says where the time went. Every rank
// calls it with the same arguments.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/fold/engine.h"
#include "runtime/model/step_timings.h"

namespace kvfold {

struct BenchOptions {
  int64_t tokens = 0;         // >= 1, tokens + decode_tokens <= the engine's max_tokens
  int64_t chunk = 0;          // <= the engine's cache.chunk
  int64_t decode_tokens = 0;  // >= 0, decoded one by one after the last fold
  int repeats = 3;            // >= 1 counted folds, after one of at most two chunks that is not
  // Called by all ranks after every counted fold: a shared host's speed changes from second to
  // second, and a share of a ceiling means something only where both were taken side by side.
  std::function<Ceilings()> measure_ceilings;
};

struct BenchResult {
  double fold_s = 0.0;          // median of the counted folds, by this rank's clock
  std::vector<double> folds_s;  // all of them
  StepTimings fold;             // of the median fold, this rank's
  double decode_token_s = 0.0;  // median of a token
  Ceilings ceilings;            // medians of what measure_ceilings said; zeros without it
  bool finite = true;           // whether the logits that were computed are finite numbers
};

// Inputs are seeded random embeddings of the size of the model's own. Rank 0 plans and broadcasts
// each step as a real run does.
BenchResult BenchFold(Engine& engine, const BenchOptions& options);

}  // namespace kvfold
