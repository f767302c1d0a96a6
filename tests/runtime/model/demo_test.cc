// The demo model against transformers' reading of the same GGUF, both in float32: 512 tokens of the
// GPL. KVFOLD_DEMO_MODEL names the .gguf file (scripts/fetch_demo_model.sh prints its path).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/support/all_close.h"
#include "tests/support/fixture.h"
#include "tests/support/local_model.h"

namespace kvfold {
namespace {

// Thirty layers of float32 in another order: measured 1.2e-4 with AVX-512, where log-sum-exps go up
// to 30. The rest is room for other processors.
constexpr double kTolerance = 5e-3;

std::filesystem::path DemoModel() {
  const char* const path = std::getenv("KVFOLD_DEMO_MODEL");
  return path == nullptr ? "" : path;
}
std::filesystem::path Reference(const char* name) {
  return std::filesystem::path(KVFOLD_FIXTURES) / "demo" / name;
}

class DemoTest : public testing::Test {
 protected:
  void SetUp() override {
    if (DemoModel().empty()) {
      GTEST_SKIP() << "KVFOLD_DEMO_MODEL is not set: scripts/fetch_demo_model.sh fetches the model "
                      "and prints its path.";
    }
  }
};

class DemoLogitsTest : public DemoTest,
                       public testing::WithParamInterface<std::pair<int, int64_t>> {};

TEST_P(DemoLogitsTest, EqualTransformers) {
  const auto [tp_size, chunk] = GetParam();
  const std::vector<TokenId> tokens = ReadTokens(Reference("tokens.json"));
  const auto columns = ReadJson(Reference("columns.json")).get<std::vector<size_t>>();
  const auto want_columns = ReadNpy<float>(Reference("columns.npy"));
  const auto want_log_sum_exp = ReadNpy<float>(Reference("logsumexp.npy"));
  const auto want_best = ReadNpy<int32_t>(Reference("argmax.npy"));
  const auto gap = ReadNpy<float>(Reference("gap.npy"));
  ASSERT_EQ(tokens.size(), 512u);
  ASSERT_EQ(columns.size(), 64u);

  std::vector<float> got_columns, got_log_sum_exp;
  std::vector<int32_t> got_best;
  RunLocalModel(DemoModel(), {.tp_size = tp_size, .chunk = chunk, .max_tokens = 512},
                [&](LocalRank& rank) {
                  ScoreCallbacks callbacks;
                  callbacks.logits = [&](int64_t, std::span<const float> row) {
                    for (const size_t column : columns) got_columns.push_back(row[column]);
                    const auto best = std::max_element(row.begin(), row.end());
                    double sum = 0.0;
                    for (const float logit : row)
                      sum += std::exp(static_cast<double>(logit - *best));
                    got_log_sum_exp.push_back(static_cast<float>(*best + std::log(sum)));
                    got_best.push_back(static_cast<int32_t>(best - row.begin()));
                  };
                  ScoreTokens(rank.engine, rank.embeddings, tokens, chunk, callbacks);
                });
  EXPECT_TRUE(AllClose(got_columns, want_columns, kTolerance));
  EXPECT_TRUE(AllClose(got_log_sum_exp, want_log_sum_exp, kTolerance));
  ASSERT_EQ(got_best.size(), want_best.size());
  int compared = 0;
  for (size_t t = 0; t < want_best.size(); ++t) {
    if (gap[t] <= 2 * kTolerance) continue;  // either of the two may lead
    ++compared;
    EXPECT_EQ(got_best[t], want_best[t]) << "position " << t;
  }
  EXPECT_GT(compared, 500);
}

INSTANTIATE_TEST_SUITE_P(RanksAndChunks, DemoLogitsTest,
                         testing::Values(std::pair<int, int64_t>{1, 64},
                                         std::pair<int, int64_t>{1, 512},
                                         std::pair<int, int64_t>{3, 64},
                                         std::pair<int, int64_t>{3, 512}),
                         [](const auto& model) {
                           return "Ranks" + std::to_string(model.param.first) + "Chunk" +
                                  std::to_string(model.param.second);
                         });

TEST_F(DemoTest, GreedyTextEqualsTransformers) {
  const auto reference = ReadJson(Reference("greedy.json"));
  const auto want = reference.at("tokens").get<std::vector<TokenId>>();
  ASSERT_EQ(want.size(), 32u);
  for (const int tp_size : {1, 3}) {
    std::vector<TokenId> got;
    RunLocalModel(DemoModel(), {.tp_size = tp_size}, [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings, nullptr, {.chunk = 64});
      Request request;
      request.tokens = reference.at("prompt_tokens").get<std::vector<TokenId>>();
      request.max_new_tokens = static_cast<int64_t>(want.size());
      scheduler.Submit(request,
                       {.done = [&](const Completion& completion) { got = completion.tokens; }});
      while (scheduler.Step()) {
      }
    });
    EXPECT_EQ(got, want) << "tp_size " << tp_size;
  }
}

}  // namespace
}  // namespace kvfold
