// runtime/fold/sampler.h: the next token from one row of logits. Random numbers are keyed by (seed,
// request, position): a request draws the same ones alone and beside others, and again when it is
// started again.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kvfold {

struct SamplingOptions {
  double temperature = 0.0;  // 0: greedy, the first of equal logits
  int64_t top_k = 0;         // 0: all tokens
  double top_p = 1.0;        // the fewest most likely tokens whose probabilities reach it; 1: all
  uint64_t seed = 0;
};

// Throws InputError naming the option that is out of range.
void CheckSamplingOptions(const SamplingOptions& options);

// Uniform in [0, 1), a pure function of its arguments.
double UniformRandom(uint64_t seed, uint64_t request_key, int64_t position);
// A request's key from its id (FNV-1a, 64 bits).
uint64_t RequestKey(std::string_view id);

// Order: temperature, then top_k, then top_p. `position`: of the token to be chosen.
int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options,
                    uint64_t request_key, int64_t position);

}  // namespace kvfold
