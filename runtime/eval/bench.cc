#include "runtime/eval/bench.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>

#include "comm/base/median.h"
#include "comm/base/stopwatch.h"
#include "comm/error.h"
#include "runtime/fold/sequence.h"

namespace kvfold {
namespace {

// Values of the size that embeddings have, the same for any token: what they are does not change
// the time of dense arithmetic.
class SyntheticEmbeddings : public EmbeddingSource {
 public:
  SyntheticEmbeddings(int64_t hidden, int64_t most_tokens) : hidden_(hidden) {
    std::minstd_rand random(1);
    const auto n = static_cast<size_t>(most_tokens * hidden);
    rows_.reserve(n);
    for (size_t i = 0; i < n; ++i)
      rows_.push_back(static_cast<float>(random() % 2001) / 10000.0f - 0.1f);
  }
  int64_t hidden() const override { return hidden_; }
  void Gather(std::span<const int32_t> tokens, float* out) const override {
    std::copy_n(rows_.begin(), static_cast<int64_t>(tokens.size()) * hidden_, out);
  }

 private:
  int64_t hidden_;
  std::vector<float> rows_;
};

class Bench {
 public:
  Bench(Engine& engine, int64_t chunk)
      : engine_(engine), chunk_(chunk), embeddings_(engine.config().hidden, chunk) {}

  // n_tokens into a new sequence, in place of the one before.
  void Fold(int64_t n_tokens) {
    sequence_.reset();
    sequence_.emplace(engine_, embeddings_, chunk_);
    sequence_->Fold(std::vector<TokenId>(static_cast<size_t>(n_tokens)));
    while (sequence_->folding()) {
      sequence_->FeedChunk(plan_, Sequence::LogitRows::kLast);
      Run();
    }
  }
  void Decode() {
    sequence_->FeedToken(plan_, 0);
    Run();
  }

  bool finite() const { return finite_; }

 private:
  void Run() {
    plan_.logit_use = plan_.wanted_rows() > 0 ? LogitUse::kArgMax : LogitUse::kNone;
    for (const ArgMaxLogit& largest : engine_.Run(plan_, {}).arg_max)
      finite_ = finite_ && std::isfinite(largest.logit);
    plan_.Clear();
  }

  Engine& engine_;
  int64_t chunk_;
  SyntheticEmbeddings embeddings_;
  std::optional<Sequence> sequence_;
  StepPlan plan_;  // kept for its memory
  bool finite_ = true;
};

}  // namespace

BenchResult BenchFold(Engine& engine, const BenchOptions& options) {
  KVFOLD_CHECK(options.tokens >= 1 && options.chunk >= 1 && options.repeats >= 1, "tokens",
               options.tokens, "chunk", options.chunk, "repeats", options.repeats);
  Bench bench(engine, options.chunk);
  bench.Fold(std::min(options.tokens, 2 * options.chunk));  // pages touched, products made
  BenchResult result;
  std::vector<StepTimings> timings;
  std::vector<double> product_rates;
  std::vector<double> copy_rates;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    engine.SetTimed(true);
    engine.TakeTimings();  // those of other steps
    const Stopwatch stopwatch;
    bench.Fold(options.tokens);
    result.folds_s.push_back(stopwatch.seconds());
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
    const Stopwatch stopwatch;
    bench.Decode();
    tokens_s.push_back(stopwatch.seconds());
  }
  if (!tokens_s.empty()) result.decode_token_s = Median(tokens_s);
  result.finite = bench.finite();
  return result;
}

}  // namespace kvfold
