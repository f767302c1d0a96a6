// Sampling: what is drawn has the probabilities that the options ask for, and depends on nothing
// but the logits, the options, the request and the position.
#include "runtime/fold/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "comm/error.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

constexpr int64_t kDraws = 20000;

// Logits whose softmax these weights are, up to their sum.
std::vector<float> LogitsOf(const std::vector<double>& weights) {
  std::vector<float> logits;
  for (const double weight : weights) logits.push_back(static_cast<float>(std::log(weight)));
  return logits;
}

// Draws at positions 0 .. kDraws - 1 and holds the counts against `want` (up to its sum): Pearson's
// chi-square, which has a mean of `free` and a variance of 2 free, is allowed five deviations. What
// has no probability must never come.
void ExpectDistribution(const std::vector<float>& logits, const SamplingOptions& options,
                        const std::vector<double>& want) {
  std::vector<int64_t> counts(logits.size(), 0);
  for (int64_t position = 0; position < kDraws; ++position)
    ++counts.at(static_cast<size_t>(SampleToken(logits, options, 17, position)));
  double total = 0.0;
  for (const double weight : want) total += weight;
  double chi_square = 0.0;
  int free = -1;
  for (size_t i = 0; i < want.size(); ++i) {
    const double expected = want[i] / total * static_cast<double>(kDraws);
    if (want[i] == 0.0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    ++free;
    const double off = static_cast<double>(counts[i]) - expected;
    chi_square += off * off / expected;
  }
  EXPECT_LE(chi_square, free + 5.0 * std::sqrt(2.0 * free) + 1e-9)
      << "counts " << testing::PrintToString(counts);
}

TEST(SamplerTest, GreedyTakesTheFirstOfEqualLogits) {
  EXPECT_EQ(SampleToken(std::vector<float>{1, 3, 2, 3}, {}, 0, 0), 1);
  EXPECT_EQ(SampleToken(std::vector<float>{5}, {}, 0, 0), 0);
  EXPECT_EQ(SampleToken(std::vector<float>{-3, -2, -2, -9}, {}, 0, 0), 1);
  const float none = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(SampleToken(std::vector<float>{none, none, -1}, {}, 0, 0), 2);
}

TEST(SamplerTest, GreedyIgnoresSeedRequestAndPosition) {
  const std::vector<float> logits = {0.1f, 0.2f, 0.15f};
  for (uint64_t seed = 0; seed < 50; ++seed)
    EXPECT_EQ(SampleToken(logits, {.seed = seed}, seed * 31, static_cast<int64_t>(seed)), 1);
}

TEST(SamplerTest, TemperatureFlattensAndSharpens) {
  const std::vector<double> weights = {0.1, 0.4, 0.05, 0.3, 0.15};
  const std::vector<float> logits = LogitsOf(weights);
  ExpectDistribution(logits, {.temperature = 1.0}, weights);
  for (const double temperature : {0.5, 2.0}) {
    std::vector<double> want;
    for (const double weight : weights) want.push_back(std::pow(weight, 1.0 / temperature));
    ExpectDistribution(logits, {.temperature = temperature}, want);
  }
}

TEST(SamplerTest, VeryLowTemperatureIsGreedyAndOverflowsNothing) {
  const std::vector<float> logits = {-1000.0f, 999.0f, 1000.0f, 0.0f};
  for (int64_t position = 0; position < 1000; ++position)
    EXPECT_EQ(SampleToken(logits, {.temperature = 1e-6}, 1, position), 2);
  // So low that what is divided by it is infinite.
  for (const double temperature : {1e-300, 5e-324})
    EXPECT_EQ(SampleToken(logits, {.temperature = temperature, .top_p = 0.5}, 1, 1), 2);
}

TEST(SamplerTest, TopKKeepsTheMostLikely) {
  const std::vector<float> logits = LogitsOf({0.1, 0.4, 0.05, 0.3, 0.15});
  ExpectDistribution(logits, {.temperature = 1.0, .top_k = 1}, {0, 1, 0, 0, 0});
  ExpectDistribution(logits, {.temperature = 1.0, .top_k = 3}, {0, 0.4, 0, 0.3, 0.15});
  for (const int64_t all : {0, 5, 6, 1000})
    ExpectDistribution(logits, {.temperature = 1.0, .top_k = all}, {0.1, 0.4, 0.05, 0.3, 0.15});
  // Of equals the first are kept.
  ExpectDistribution({2, 2, 2, 2}, {.temperature = 1.0, .top_k = 2}, {1, 1, 0, 0});
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = LogitsOf({0.1, 0.4, 0.05, 0.3, 0.15});
  ExpectDistribution(logits, {.temperature = 1.0, .top_p = 0.39}, {0, 1, 0, 0, 0});
  ExpectDistribution(logits, {.temperature = 1.0, .top_p = 0.41}, {0, 0.4, 0, 0.3, 0});
  ExpectDistribution(logits, {.temperature = 1.0, .top_p = 0.84}, {0, 0.4, 0, 0.3, 0.15});
  ExpectDistribution(logits, {.temperature = 1.0, .top_p = 1e-12}, {0, 1, 0, 0, 0});
  // At the very boundary, with weights that are exact: two of four equals are half.
  ExpectDistribution({0, 0, 0, 0}, {.temperature = 1.0, .top_p = 0.5}, {1, 1, 0, 0});
  ExpectDistribution({0, 0, 0, 0}, {.temperature = 1.0, .top_p = 0.501}, {1, 1, 1, 0});
}

TEST(SamplerTest, TemperatureComesBeforeTopKAndTopKBeforeTopP) {
  const std::vector<float> logits = LogitsOf({0.4, 0.3, 0.2, 0.1});
  // Of the two that top_k keeps the first has 0.571: enough by itself. (Of all four it has 0.4.)
  ExpectDistribution(logits, {.temperature = 1.0, .top_k = 2, .top_p = 0.5}, {1, 0, 0, 0});
  // At temperature 0.5 the weights are as 16, 9, 4 and 1: the first has 0.533.
  ExpectDistribution(logits, {.temperature = 0.5, .top_p = 0.5}, {1, 0, 0, 0});
  ExpectDistribution(logits, {.temperature = 0.5, .top_k = 3, .top_p = 0.8}, {16, 9, 0, 0});
}

// Greedily or not: no token is taken from a row that is no distribution, wherever the odd one is.
TEST(SamplerTest, LogitsThatAreNoNumbersAreRefusedByPosition) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refusal = [](const std::vector<float>& logits, double temperature) -> std::string {
    try {
      SampleToken(logits, {.temperature = temperature, .top_k = 2, .top_p = 0.9}, 1, 13);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFailed);
      return error.what();
    }
    return "not refused";
  };
  for (const double temperature : {0.0, 1e-9, 1.0}) {
    for (const float odd : {nan, -nan, infinity}) {
      for (size_t at = 0; at < 5; ++at) {
        std::vector<float> logits = {1, -infinity, 3, 2, 0};
        EXPECT_EQ(refusal(logits, temperature), "not refused");
        logits[at] = odd;
        EXPECT_THAT(refusal(logits, temperature), HasSubstr("logits at position 12"));
      }
    }
    EXPECT_THAT(refusal(std::vector<float>(4, nan), temperature), HasSubstr("position 12"));
    EXPECT_THAT(refusal(std::vector<float>(4, -infinity), temperature), HasSubstr("position 12"));
  }
}

// Tokens of no probability never come, and the others keep theirs.
TEST(SamplerTest, MinusInfinityIsATokenOfNoProbability) {
  const float none = -std::numeric_limits<float>::infinity();
  ExpectDistribution({none, 0, none, 0}, {.temperature = 1.0}, {0, 1, 0, 1});
  ExpectDistribution({none, 0, none, 0}, {.temperature = 1.0, .top_k = 3}, {0, 1, 0, 1});
}

TEST(SamplerTest, UniformRandomIsUniformOverEveryArgument) {
  const auto chi_square_of = [](auto&& draw) {
    std::vector<double> counts(32, 0.0);
    for (int64_t i = 0; i < kDraws; ++i) {
      const double value = draw(i);
      EXPECT_GE(value, 0.0);
      EXPECT_LT(value, 1.0);
      counts.at(static_cast<size_t>(value * 32)) += 1.0;
    }
    double chi_square = 0.0;
    const double expected = static_cast<double>(kDraws) / 32;
    for (const double count : counts)
      chi_square += (count - expected) * (count - expected) / expected;
    return chi_square;
  };
  const double most = 31 + 5 * std::sqrt(62.0);
  EXPECT_LE(chi_square_of([](int64_t i) { return UniformRandom(1, 2, i); }), most);
  EXPECT_LE(chi_square_of([](int64_t i) { return UniformRandom(1, static_cast<uint64_t>(i), 3); }),
            most);
  EXPECT_LE(chi_square_of([](int64_t i) { return UniformRandom(static_cast<uint64_t>(i), 2, 3); }),
            most);
}

TEST(SamplerTest, DrawsAreAFunctionOfSeedRequestAndPosition) {
  EXPECT_EQ(UniformRandom(5, 6, 7), UniformRandom(5, 6, 7));
  std::set<double> seen;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t request = 0; request < 10; ++request) {
      for (int64_t position = 0; position < 10; ++position)
        seen.insert(UniformRandom(seed, request, position));
    }
  }
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(SamplerTest, RequestKeysOfIdsDiffer) {
  EXPECT_EQ(RequestKey(""), 0xcbf29ce484222325u);  // FNV-1a's published test vectors
  EXPECT_EQ(RequestKey("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(RequestKey("foobar"), 0x85944171f73967e8u);
  std::set<uint64_t> keys;
  for (int i = 0; i < 1000; ++i) keys.insert(RequestKey(std::to_string(i)));
  EXPECT_EQ(keys.size(), 1000u);
}

std::string RefusalOf(const SamplingOptions& options) {
  try {
    CheckSamplingOptions(options);
  } catch (const InputError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(SamplerTest, OptionsOutOfRangeAreRefusedByName) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double temperature : {-1e-9, -1.0, nan, infinity, -infinity})
    EXPECT_THAT(RefusalOf({.temperature = temperature}), HasSubstr("temperature is"));
  for (const int64_t top_k : {int64_t{-1}, std::numeric_limits<int64_t>::min()})
    EXPECT_THAT(RefusalOf({.top_k = top_k}), HasSubstr("top_k is"));
  for (const double top_p : {0.0, -0.5, 1.0000001, nan, infinity})
    EXPECT_THAT(RefusalOf({.top_p = top_p}), HasSubstr("top_p is"));
  EXPECT_EQ(RefusalOf({}), "not refused");
  EXPECT_EQ(RefusalOf({.temperature = 100.0, .top_k = 1, .top_p = 1e-9}), "not refused");
}

}  // namespace
}  // namespace kvfold
