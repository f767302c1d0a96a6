// Real models against transformers' reading of the same GGUF, both in float32: some hundred tokens
// of the GPL, in Gemma's case more than its layers slide by. Environment variables name the .gguf
// files (scripts/fetch_test_data.sh).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/support/all_close.h"
#include "tests/support/fixture.h"
#include "tests/support/local_model.h"

namespace kvfold {
namespace {

// Thirty layers of float32 in another order: measured 1.2e-4 with AVX-512, where log-sum-exps go up
// to 30, and 5.3e-4 of Gemma 3 270M on random tokens. The rest is room for other processors.
constexpr double kTolerance = 5e-3;

struct Case {
  const char* name;      // of the folder of its references
  const char* variable;  // that holds the path
  int tp_size;
  int64_t chunk;
};

class RealModel : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const char* const path = std::getenv(GetParam().variable);
    model_ = path == nullptr ? "" : path;
    if (model_.empty()) {
      GTEST_SKIP() << GetParam().variable << " is not set: scripts/fetch_test_data.sh says to what";
    }
  }
  std::filesystem::path Reference(const char* file) const {
    return std::filesystem::path(KVFOLD_FIXTURES) / GetParam().name / file;
  }
  std::filesystem::path model_;
};

TEST_P(RealModel, LogitsEqualTransformers) {
  const auto [name, variable, tp_size, chunk] = GetParam();
  const std::vector<TokenId> tokens = ReadTokens(Reference("tokens.json"));
  const auto columns = ReadJson(Reference("columns.json")).get<std::vector<size_t>>();
  const auto want_columns = ReadNpy<float>(Reference("columns.npy"));
  const auto want_log_sum_exp = ReadNpy<float>(Reference("logsumexp.npy"));
  const auto want_best = ReadNpy<int32_t>(Reference("argmax.npy"));
  const auto gap = ReadNpy<float>(Reference("gap.npy"));
  ASSERT_EQ(columns.size(), 64u);

  std::vector<float> got_columns, got_log_sum_exp;
  std::vector<int32_t> got_best;
  const auto n_tokens = static_cast<int64_t>(tokens.size());
  const int64_t step = chunk;  // C++20 captures no structured binding
  RunLocalModel(model_, {.tp_size = tp_size, .chunk = chunk, .max_tokens = n_tokens},
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
                  ScoreTokens(rank.engine, rank.embeddings, tokens, step, callbacks);
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
  EXPECT_GT(compared, n_tokens * 95 / 100);
}

TEST_P(RealModel, GreedyTextEqualsTransformers) {
  const auto reference = ReadJson(Reference("greedy.json"));
  const auto want = reference.at("tokens").get<std::vector<TokenId>>();
  ASSERT_EQ(want.size(), 32u);
  std::vector<TokenId> got;
  RunLocalModel(model_, {.tp_size = GetParam().tp_size}, [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 64});
    Request request;
    request.tokens = reference.at("prompt_tokens").get<std::vector<TokenId>>();
    request.max_new_tokens = static_cast<int64_t>(want.size());
    scheduler.Submit(request,
                     {.done = [&](const Completion& completion) { got = completion.tokens; }});
    while (scheduler.Step()) {
    }
  });
  EXPECT_EQ(got, want);
}

INSTANTIATE_TEST_SUITE_P(Models, RealModel,
                         testing::Values(Case{"demo", "KVFOLD_DEMO_MODEL", 1, 64},
                                         Case{"demo", "KVFOLD_DEMO_MODEL", 1, 512},
                                         Case{"demo", "KVFOLD_DEMO_MODEL", 3, 64},
                                         Case{"demo", "KVFOLD_DEMO_MODEL", 3, 512},
                                         Case{"gemma3_270m", "KVFOLD_GEMMA3_MODEL", 1, 640},
                                         Case{"gemma3_270m", "KVFOLD_GEMMA3_MODEL", 2, 128}),
                         [](const auto& model) {
                           return fmt::format("{}_Ranks{}Chunk{}", model.param.name,
                                              model.param.tp_size, model.param.chunk);
                         });

}  // namespace
}  // namespace kvfold
