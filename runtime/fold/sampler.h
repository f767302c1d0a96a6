// runtime/fold/sampler.h: the next token from one row of logits. Random numbers are keyed by (seed,
// request, position): a request draws the same ones alone and beside others, and again when it is
// started again.
//
// A row that holds a NaN or +infinity, or nothing above -infinity, is no distribution, and nothing
// is taken from it, greedily or not. Single logits of -infinity are: tokens of probability 0.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "comm/error.h"
#include "runtime/kernels/kernels.h"

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

// As Kernels::ArgMax finds it, which takes its place where all requests of a step are greedy.
ArgMaxLogit ArgMax(std::span<const float> logits);

// What is said of a row of logits that is no distribution. `position`: of the last token that it
// was computed from, counted from 0, as rows of all logits of a text are.
Error NotNumbersError(int64_t position);

// The token that is the largest. Throws NotNumbersError; `position`: of the token to be chosen.
int32_t GreedyToken(const ArgMaxLogit& largest, int64_t position);

// Order: temperature, then top_k, then top_p. `position`: of the token to be chosen. Throws
// NotNumbersError.
int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options,
                    uint64_t request_key, int64_t position);

}  // namespace kvfold
