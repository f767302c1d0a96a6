// Log-likelihood against what double precision makes of the same logits.
#include "runtime/eval/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

// The statistics come from f32: a row's logits are off by at most 2^-24 of about 10, its sum of
// exponentials by a few units in the last place; the mean over rows is no worse.
constexpr double kTolerance = 1e-5;

class ScoreTest : public testing::Test {
 protected:
  ModelConfig config_ = RandomConfig(8);
  RandomCheckpoint checkpoint_{config_, 8};
  LocalModelOptions Options(int tp_size, int64_t chunk) const {
    return {.tp_size = std::min(tp_size, static_cast<int>(config_.n_heads)),
            .chunk = chunk,
            .max_tokens = 200,
            .config = config_,
            .checkpoint = &checkpoint_};
  }
  ScoreResult Score(const std::vector<TokenId>& tokens, int tp_size, int64_t chunk) const {
    ScoreResult result;
    RunLocalModel("random", Options(tp_size, chunk), [&](LocalRank& rank) {
      result = ScoreTokens(rank.engine, rank.embeddings, tokens, chunk, {});
    });
    return result;
  }
  // -log p(token t) for t >= 1, by the position before it.
  std::vector<double> NllOf(const std::vector<float>& logits,
                            const std::vector<TokenId>& tokens) const {
    std::vector<double> nll;
    const auto vocab_size = static_cast<size_t>(config_.vocab_size);
    for (size_t t = 0; t + 1 < tokens.size(); ++t) {
      double sum = 0.0;
      for (size_t i = 0; i < vocab_size; ++i)
        sum += std::exp(static_cast<double>(logits[t * vocab_size + i]));
      nll.push_back(
          std::log(sum) -
          static_cast<double>(logits[t * vocab_size + static_cast<size_t>(tokens[t + 1])]));
    }
    return nll;
  }
};

TEST_F(ScoreTest, EqualsTheLogitsLikelihood) {
  const std::vector<TokenId> tokens = RandomTokens(config_, 129, 1);
  for (const int tp_size : {1, 2, 3}) {
    for (const int64_t chunk : {1, 16, 64, 128, 129, 150}) {
      SCOPED_TRACE(fmt::format("tp_size {}, chunk {}", tp_size, chunk));
      ScoreResult gathered;
      const std::vector<float> logits =
          LocalLogits("random", tokens, Options(tp_size, chunk), &gathered);
      ASSERT_EQ(logits.size(), tokens.size() * static_cast<size_t>(config_.vocab_size));
      const std::vector<double> want = NllOf(logits, tokens);
      const double mean = std::accumulate(want.begin(), want.end(), 0.0) / 128;
      const ScoreResult result = Score(tokens, tp_size, chunk);
      EXPECT_NEAR(result.nll, mean, kTolerance);
      EXPECT_NEAR(gathered.nll, mean, 1e-9);  // in double, from the same logits
      EXPECT_EQ(result.tokens, 129);
      EXPECT_EQ(result.chunks, (129 + chunk - 1) / chunk);
      EXPECT_GE(result.fold_s, 0.0);

      // By chunk: the mean over what its rows predict. The last row predicts nothing.
      const auto n_scored_chunks = static_cast<size_t>((128 + chunk - 1) / chunk);
      ASSERT_EQ(result.nll_by_chunk.size(), n_scored_chunks);
      ASSERT_EQ(gathered.nll_by_chunk.size(), n_scored_chunks);
      for (size_t i = 0; i < n_scored_chunks; ++i) {
        const size_t begin = i * static_cast<size_t>(chunk);
        const size_t end = std::min<size_t>(128, begin + static_cast<size_t>(chunk));
        const double of_chunk =
            std::accumulate(want.begin() + static_cast<std::ptrdiff_t>(begin),
                            want.begin() + static_cast<std::ptrdiff_t>(end), 0.0) /
            static_cast<double>(end - begin);
        EXPECT_NEAR(result.nll_by_chunk[i], of_chunk, kTolerance) << "chunk " << i;
        EXPECT_NEAR(gathered.nll_by_chunk[i], of_chunk, 1e-9) << "chunk " << i;
      }
    }
  }
}

TEST_F(ScoreTest, TwoTokensAreEnough) {
  const std::vector<TokenId> tokens = RandomTokens(config_, 2, 1);
  const ScoreResult result = Score(tokens, 1, 64);
  EXPECT_EQ(result.nll_by_chunk, std::vector<double>{result.nll});
  EXPECT_GT(result.nll, 0.0);
}

// A second text on the same engine starts anew.
TEST_F(ScoreTest, OneEngineScoresTextAfterText) {
  const std::vector<TokenId> one = RandomTokens(config_, 150, 1),
                             other = RandomTokens(config_, 99, 2);
  const double want_one = Score(one, 2, 64).nll, want_other = Score(other, 2, 64).nll;
  RunLocalModel("random", Options(2, 64), [&](LocalRank& rank) {
    const auto nll = [&](const std::vector<TokenId>& tokens) {
      return ScoreTokens(rank.engine, rank.embeddings, tokens, 64, {}).nll;
    };
    EXPECT_EQ(nll(one), want_one);
    EXPECT_EQ(nll(other), want_other);
    EXPECT_EQ(nll(one), want_one);
  });
}

TEST_F(ScoreTest, CallbacksSeeChunksAndRowsInOrder) {
  const std::vector<TokenId> tokens = RandomTokens(config_, 20, 1);
  std::vector<int64_t> rows, folded;
  ScoreCallbacks callbacks;
  callbacks.logits = [&](int64_t row, std::span<const float> logits) {
    EXPECT_EQ(static_cast<int64_t>(logits.size()), config_.vocab_size);
    rows.push_back(row);
  };
  callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens_done) {
    EXPECT_EQ(n_chunks, 3);
    EXPECT_EQ(chunk, static_cast<int64_t>(folded.size()) + 1);
    folded.push_back(tokens_done);
  };
  RunLocalModel("random", Options(2, 9), [&](LocalRank& rank) {
    ScoreTokens(rank.engine, rank.embeddings, tokens, 9, callbacks);
  });
  std::vector<int64_t> want(20);
  std::iota(want.begin(), want.end(), 0);
  EXPECT_EQ(rows, want);
  EXPECT_EQ(folded, (std::vector<int64_t>{9, 18, 20}));
}

TEST_F(ScoreTest, TextsThatCannotBeScoredAreRefused) {
  const auto refusal = [&](const std::vector<TokenId>& tokens) -> std::string {
    try {
      Score(tokens, 1, 64);
    } catch (const InputError& error) {
      return error.what();
    }
    return "not refused";
  };
  EXPECT_THAT(refusal({}), HasSubstr("0 tokens, expected at least 2"));
  EXPECT_THAT(refusal({1}), HasSubstr("1 tokens, expected at least 2"));
  EXPECT_THAT(refusal({1, -1}), HasSubstr("token id -1 is outside"));
  const auto beyond = static_cast<TokenId>(config_.vocab_size);
  EXPECT_THAT(refusal({beyond, 1}), HasSubstr(fmt::format("token id {} is outside", beyond)));
  EXPECT_EQ(refusal({beyond - 1, 0}), "not refused");
}

// From statistics and from whole rows, whichever rank holds them, in whichever chunk.
TEST_F(ScoreTest, LogitsThatAreNoNumbersAreRefusedByPosition) {
  config_.tie_embeddings = false;
  const RandomCheckpoint base(config_, 8);
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<TokenId> tokens = RandomTokens(config_, 40, 1);
  const TokenId bad = 5;
  std::ranges::replace(tokens, bad, bad + 1);
  const auto refusal = [&](const Checkpoint& checkpoint, int tp_size, int64_t chunk,
                           bool rows) -> std::string {
    std::string what = "not refused";
    LocalModelOptions options = Options(tp_size, chunk);
    options.checkpoint = &checkpoint;
    RunLocalModel("random", options, [&](LocalRank& rank) {
      ScoreCallbacks callbacks;
      if (rows) {
        callbacks.logits = [](int64_t, std::span<const float> row) {
          for (const float logit : row) ASSERT_TRUE(std::isfinite(logit));
        };
      }
      try {
        const ScoreResult result =
            ScoreTokens(rank.engine, rank.embeddings, tokens, chunk, callbacks);
        EXPECT_TRUE(std::isfinite(result.nll));
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kFailed);
        what = error.what();
      }
      EXPECT_FALSE(rank.engine.broken());
    });
    return what;
  };
  for (const int tp_size : {1, 2, 3}) {
    for (const bool rows : {false, true}) {
      SCOPED_TRACE(fmt::format("{} ranks, whole rows {}", tp_size, rows));
      for (const float odd : {nan, infinity, -infinity}) {
        for (const int64_t row : {int64_t{0}, config_.vocab_size / 2, config_.vocab_size - 1}) {
          const ConstantTensors head(base, "lm_head.weight", odd, row);
          EXPECT_THAT(refusal(head, tp_size, 16, rows), HasSubstr("logits at position 0 "));
        }
      }
      const ConstantTensors embedding(base, "embed_tokens.weight", nan, bad);
      EXPECT_EQ(refusal(embedding, tp_size, 16, rows), "not refused");
      for (const int64_t at : {0, 15, 16, 30, 38}) {
        const TokenId before = std::exchange(tokens[static_cast<size_t>(at)], bad);
        for (const int64_t chunk : {1, 16, 40}) {
          EXPECT_THAT(refusal(embedding, tp_size, chunk, rows),
                      HasSubstr(fmt::format("logits at position {} ", at)));
        }
        tokens[static_cast<size_t>(at)] = before;
      }
      // The last row scores nothing: only where it is asked for it counts.
      const TokenId before = std::exchange(tokens.back(), bad);
      EXPECT_THAT(refusal(embedding, tp_size, 16, rows),
                  HasSubstr(rows ? "logits at position 39 " : "not refused"));
      tokens.back() = before;
    }
  }
}

// A full disk, say: the problem is told when the step is over, and no rank is left waiting.
TEST_F(ScoreTest, SinkThatThrowsLeavesTheRanksInStep) {
  const std::vector<TokenId> tokens = RandomTokens(config_, 40, 1);
  RunLocalModel("random", Options(2, 16), [&](LocalRank& rank) {
    ScoreCallbacks callbacks;
    callbacks.logits = [](int64_t row, std::span<const float>) {
      if (row == 20) throw IoError("disk full");
    };
    EXPECT_THROW(ScoreTokens(rank.engine, rank.embeddings, tokens, 16, callbacks), IoError);
    EXPECT_FALSE(rank.engine.broken());
  });
}

}  // namespace
}  // namespace kvfold
