#include "runtime/eval/score.h"

#include <algorithm>
#include <cmath>

#include "comm/base/rounding.h"
#include "comm/base/stopwatch.h"
#include "comm/error.h"
#include "runtime/fold/sampler.h"
#include "runtime/fold/sequence.h"

namespace kvfold {
namespace {

// -log of the target's probability in the row at `position`.
double NegativeLogLikelihood(double max, double sum_exp, double target, int64_t position) {
  const double nll = max + std::log(sum_exp) - target;
  if (std::isfinite(nll)) return nll;
  if (std::isfinite(max) && std::isfinite(sum_exp) && !std::isnan(target)) {
    throw Error(ErrorCode::kFailed,
                fmt::format("the logits at position {} give the token after it no probability, "
                            "its logit is {}: there is no likelihood of this text",
                            position, target));
  }
  throw NotNumbersError(position);
}

// Likewise of a whole row, in double.
double NegativeLogLikelihood(std::span<const float> logits, TokenId target, int64_t position) {
  const double max = ArgMax(logits).logit;
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return NegativeLogLikelihood(max, sum, logits[static_cast<size_t>(target)], position);
}

}  // namespace

ScoreResult ScoreTokens(Engine& engine, const EmbeddingSource& embeddings,
                        std::span<const TokenId> tokens, int64_t chunk,
                        const ScoreCallbacks& callbacks) {
  const auto n_tokens = static_cast<int64_t>(tokens.size());
  if (n_tokens < 2)
    throw InputError(fmt::format("the text has {} tokens, expected at least 2 to score", n_tokens));
  for (const TokenId token : tokens) {
    if (token < 0 || token >= engine.config().vocab_size) {
      throw InputError(fmt::format("token id {} is outside the vocabulary, expected 0 to {}", token,
                                   engine.config().vocab_size - 1));
    }
  }
  const Stopwatch stopwatch;
  ScoreResult result;
  result.tokens = n_tokens;
  result.chunks = CeilDiv(n_tokens, chunk);
  double total = 0.0;
  Sequence text(engine, embeddings, chunk);
  text.Fold(std::vector<TokenId>(tokens.begin(), tokens.end()));
  StepPlan plan;
  for (; text.folding(); plan.Clear()) {
    const int64_t begin = text.length();
    text.FeedChunk(plan, Sequence::LogitRows::kAll);
    const int64_t end = text.length();
    plan.logit_use = callbacks.logits ? LogitUse::kGather : LogitUse::kStatistics;
    for (int64_t t = begin; t < end; ++t) {
      plan.targets.push_back(t + 1 < n_tokens ? tokens[static_cast<size_t>(t + 1)]
                                              : 0);  // the last row is not scored
    }
    double chunk_total = 0.0;
    const int64_t scored = std::min(end, n_tokens - 1) - begin;
    const StepResult step_result =
        engine.Run(plan, [&](int64_t row, std::span<const float> logits) {
          if (row < scored) {
            chunk_total +=
                NegativeLogLikelihood(logits, plan.targets[static_cast<size_t>(row)], begin + row);
          } else if (!std::isfinite(ArgMax(logits).logit)) {
            throw NotNumbersError(begin + row);
          }
          callbacks.logits(begin + row, logits);
        });
    if (!step_result.statistics.empty()) {
      for (int64_t row = 0; row < scored; ++row) {
        const RowStats& s = step_result.statistics[static_cast<size_t>(row)];
        chunk_total += NegativeLogLikelihood(s.max, s.sum_exp, s.target, begin + row);
      }
    }
    total += chunk_total;
    if (scored > 0) result.nll_by_chunk.push_back(chunk_total / static_cast<double>(scored));
    if (callbacks.folded) callbacks.folded(begin / chunk + 1, result.chunks, end);
  }
  result.nll = total / static_cast<double>(n_tokens - 1);
  result.fold_s = stopwatch.seconds();
  return result;
}

}  // namespace kvfold
