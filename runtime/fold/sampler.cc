#include "runtime/fold/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kvfold {
namespace {

// SplitMix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
// OOPSLA 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct Candidate {
  double weight;  // exp((logit - max) / temperature)
  int32_t token;
};

}  // namespace

void CheckSamplingOptions(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature)) {
    throw InputError(fmt::format("temperature is {}, expected a finite number of at least 0",
                                 options.temperature));
  }
  if (options.top_k < 0)
    throw InputError(fmt::format("top_k is {}, expected 0 (all) or more", options.top_k));
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    throw InputError(fmt::format("top_p is {}, expected more than 0 and at most 1", options.top_p));
  }
}

double UniformRandom(uint64_t seed, uint64_t request_key, int64_t position) {
  const uint64_t bits = Mix(Mix(Mix(seed) ^ request_key) ^ static_cast<uint64_t>(position));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

uint64_t RequestKey(std::string_view id) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

ArgMaxLogit ArgMax(std::span<const float> logits) {
  ArgMaxLogit largest;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > largest.logit || std::isnan(logits[i]))
      largest = {logits[i], static_cast<int32_t>(i)};
  }
  return largest;
}

Error NotNumbersError(int64_t position) {
  return Error(ErrorCode::kFailed,
               fmt::format("the logits at position {} are not finite numbers: the weights hold NaN "
                           "or infinite values, or what is computed from them overflows",
                           position));
}

int32_t GreedyToken(const ArgMaxLogit& largest, int64_t position) {
  if (!std::isfinite(largest.logit)) throw NotNumbersError(position - 1);
  return largest.column;
}

int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options,
                    uint64_t request_key, int64_t position) {
  KVFOLD_CHECK(!logits.empty(), "vocab_size", logits.size());
  const ArgMaxLogit largest = ArgMax(logits);
  const int32_t greedy = GreedyToken(largest, position);
  if (options.temperature == 0.0) return greedy;

  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates.push_back(
        {std::exp((static_cast<double>(logits[i]) - largest.logit) / options.temperature),
         static_cast<int32_t>(i)});
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
  };
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + options.top_k, candidates.end(),
                     likelier);
    candidates.resize(static_cast<size_t>(options.top_k));
  }
  std::ranges::sort(candidates, likelier);
  double total = 0.0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  if (options.top_p < 1.0) {
    const double enough = options.top_p * total;
    double kept = 0.0;
    size_t n = 0;
    while (n < candidates.size() && kept < enough) kept += candidates[n++].weight;
    candidates.resize(n);
    total = kept;
  }
  double left = UniformRandom(options.seed, request_key, position) * total;
  for (const Candidate& candidate : candidates) {
    left -= candidate.weight;
    if (left < 0.0) return candidate.token;
  }
  return candidates.back().token;  // rounding of the sums
}

}  // namespace kvfold
