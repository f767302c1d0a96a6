#include "runtime/eval/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "comm/error.h"

namespace kvfold {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Bench {
 public:
  Bench(Engine& engine, const BenchOptions& options) : engine_(engine), options_(options) {
    // Values of the size that embeddings have; what they are does not change the time of dense
    // arithmetic.
    std::minstd_rand random(1);
    const auto n = static_cast<size_t>(options.chunk * engine.config().hidden);
    embeddings_.reserve(n);
    for (size_t i = 0; i < n; ++i)
      embeddings_.push_back(static_cast<float>(random() % 2001) / 10000.0f - 0.1f);
  }

  // Positions [0, n_tokens) into a new sequence.
  void Fold(int64_t n_tokens) {
    ++sequence_;
    for (int64_t begin = 0; begin < n_tokens; begin += options_.chunk) {
      const int64_t end = std::min(n_tokens, begin + options_.chunk);
      Step(begin, end - begin, end == n_tokens ? 1 : 0);
    }
  }

  void Step(int64_t begin, int64_t n_tokens, int64_t n_logit_rows) {
    StepPlan plan;
    if (begin ==
        0) {  // a run before this one may have left its last sequence under any of these ids
      for (int64_t id = 0; id <= options_.repeats + 1; ++id) plan.releases.push_back(id);
    }
    plan.logit_use = n_logit_rows > 0 ? LogitUse::kLargest : LogitUse::kNone;
    plan.sequences = {{sequence_, begin, n_tokens, n_logit_rows}};
    plan.embeddings.assign(embeddings_.begin(),
                           embeddings_.begin() + n_tokens * engine_.config().hidden);
    for (const LargestLogit& largest : engine_.Run(plan, {}).largest)
      finite_ = finite_ && std::isfinite(largest.logit);
  }

  bool finite() const { return finite_; }

 private:
  Engine& engine_;
  const BenchOptions& options_;
  std::vector<float> embeddings_;
  int64_t sequence_ = 0;
  bool finite_ = true;
};

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

BenchResult BenchFold(Engine& engine, const BenchOptions& options) {
  KVFOLD_CHECK(options.tokens >= 1 && options.chunk >= 1 && options.repeats >= 1, "tokens",
               options.tokens, "chunk", options.chunk, "repeats", options.repeats);
  Bench bench(engine, options);
  bench.Fold(std::min(options.tokens, 2 * options.chunk));  // pages touched, products made
  BenchResult result;
  std::vector<StepTimings> timings;
  std::vector<double> product_rates;
  std::vector<double> copy_rates;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    engine.SetTimed(true);
    engine.TakeTimings();  // those of other steps
    const auto start = Clock::now();
    bench.Fold(options.tokens);
    result.folds_s.push_back(SecondsSince(start));
    timings.push_back(engine.TakeTimings());
    engine.SetTimed(false);
    if (!options.measure_ceilings) continue;
    const Ceilings ceilings = options.measure_ceilings();
    product_rates.push_back(ceilings.product_flop_per_s);
    copy_rates.push_back(ceilings.copy_bytes_per_s);
  }
  if (options.measure_ceilings) result.ceilings = {Median(product_rates), Median(copy_rates)};
  result.fold_s = Median(result.folds_s);
  const auto median = std::ranges::find(result.folds_s, result.fold_s) - result.folds_s.begin();
  result.fold = timings[static_cast<size_t>(median)];

  std::vector<double> tokens_s;
  for (int64_t i = 0; i < options.decode_tokens; ++i) {
    const auto start = Clock::now();
    bench.Step(options.tokens + i, 1, 1);
    tokens_s.push_back(SecondsSince(start));
  }
  if (!tokens_s.empty()) result.decode_token_s = Median(tokens_s);
  result.finite = bench.finite();
  return result;
}

}  // namespace kvfold
