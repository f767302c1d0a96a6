// A request's result depends on its tokens, N, chunk and dtypes, never on what rides beside it: bit
// for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/all_close.h"
#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

constexpr int64_t kChunk = 24;

// All logits of texts folded side by side: in every step each text that is not over brings a chunk
// of its own (of the tokens left, if fewer), in the order of their ids. A text joins in step
// starts[i], so that chunks of different places, and of different sizes, ride together.
std::map<int64_t, std::vector<float>> FoldTogether(LocalRank& rank,
                                                   const std::vector<std::vector<TokenId>>& texts,
                                                   const std::vector<int64_t>& ids,
                                                   const std::vector<int64_t>& starts) {
  std::map<int64_t, std::vector<float>> logits;
  std::vector<int64_t> done(texts.size(), 0);
  for (int64_t step = 0;; ++step) {
    StepPlan plan;
    plan.logit_use = LogitUse::kGather;
    std::vector<int64_t> of_row;
    bool left = false;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto n_tokens = static_cast<int64_t>(texts[i].size());
      if (done[i] == n_tokens) continue;
      left = true;
      if (step < starts[i]) continue;
      const int64_t n = std::min(kChunk, n_tokens - done[i]);
      plan.sequences.push_back({ids[i], done[i], n, n});
      const size_t at = plan.embeddings.size();
      plan.embeddings.resize(at + static_cast<size_t>(n * rank.embeddings.hidden()));
      rank.embeddings.Gather(
          std::span(texts[i]).subspan(static_cast<size_t>(done[i]), static_cast<size_t>(n)),
          plan.embeddings.data() + at);
      of_row.insert(of_row.end(), static_cast<size_t>(n), ids[i]);
      done[i] += n;
    }
    if (!left) break;
    if (plan.sequences.empty()) continue;
    rank.engine.Run(plan, [&](int64_t row, std::span<const float> values) {
      auto& out = logits[of_row[static_cast<size_t>(row)]];
      out.insert(out.end(), values.begin(), values.end());
    });
  }
  StepPlan release;
  release.releases = ids;
  rank.engine.Run(release, {});
  return logits;
}

struct Dtypes {
  DType dtype;
  DType kv_dtype;
};

class BatchBitsTest : public testing::TestWithParam<std::tuple<Dtypes, int, uint64_t>> {
 protected:
  void SetUp() override {
    if (std::get<0>(GetParam()).dtype == DType::kBF16 && DetectCpuIsa() < CpuIsa::kAvx512Bf16) {
      GTEST_SKIP() << "This processor has no bf16 products.";
    }
  }
  LocalModelOptions Options(const ModelConfig& config, const Checkpoint& checkpoint,
                            int64_t max_sequences) const {
    const auto& [dtypes, tp_size, seed] = GetParam();
    return {.tp_size = std::min(tp_size, static_cast<int>(config.n_heads)),
            .threads = 2,
            .chunk = kChunk,
            .max_tokens = 700,
            .max_sequences = max_sequences,
            .dtype = dtypes.dtype,
            .kv_dtype = dtypes.kv_dtype,
            .config = config,
            .checkpoint = &checkpoint};
  }
};

TEST_P(BatchBitsTest, LogitsAloneEqualLogitsBesideOthers) {
  const uint64_t seed = std::get<2>(GetParam());
  const ModelConfig config = RandomConfig(seed);
  const RandomCheckpoint checkpoint(config, seed);
  SCOPED_TRACE(fmt::format("seed {}: {}", seed, Describe(config)));
  // Across block borders, less than a chunk, one token.
  const std::vector<std::vector<TokenId>> texts = {
      RandomTokens(config, 150, 1), RandomTokens(config, 131, 2), RandomTokens(config, 17, 3),
      RandomTokens(config, 1, 4)};
  std::map<int64_t, std::vector<float>> alone;
  RunLocalModel("random", Options(config, checkpoint, 1), [&](LocalRank& rank) {
    for (size_t i = 0; i < texts.size(); ++i)
      alone.merge(FoldTogether(rank, {texts[i]}, {static_cast<int64_t>(i)}, {0}));
  });
  ASSERT_EQ(alone.size(), 4u);
  RunLocalModel("random", Options(config, checkpoint, 4), [&](LocalRank& rank) {
    const auto check = [&](std::vector<int64_t> order, const std::vector<int64_t>& starts) {
      std::vector<std::vector<TokenId>> ordered;
      for (const int64_t id : order) ordered.push_back(texts[static_cast<size_t>(id)]);
      const auto together = FoldTogether(rank, ordered, order, starts);
      for (const int64_t id : order)
        EXPECT_TRUE(SameBits(together.at(id), alone.at(id))) << "text " << id;
    };
    check({0}, {0});  // alone in a larger engine
    check({0, 1, 2, 3}, {0, 0, 0, 0});
    check({3, 2, 1, 0}, {3, 1, 2, 0});
    check({1, 0}, {0, 2});
  });
}

TEST_P(BatchBitsTest, TokensAloneEqualTokensBesideOthers) {
  const uint64_t seed = std::get<2>(GetParam());
  const ModelConfig config = RandomConfig(seed);
  const RandomCheckpoint checkpoint(config, seed);
  SCOPED_TRACE(fmt::format("seed {}: {}", seed, Describe(config)));
  std::vector<std::vector<TokenId>> results[2];
  for (const int64_t max_sequences : {1, 3}) {
    auto& tokens = results[max_sequences == 3];
    tokens.resize(5);
    RunLocalModel("random", Options(config, checkpoint, max_sequences), [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = kChunk});
      for (size_t i = 0; i < tokens.size(); ++i) {
        Request request;
        request.id = fmt::format("request {}", i);
        request.tokens = RandomTokens(config, std::vector{61, 3, 130, 24, 49}[i], i);
        request.max_new_tokens = 12 + static_cast<int64_t>(i);
        if (i % 2 == 1)
          request.sampling = {.temperature = 1.0, .top_k = 30, .top_p = 0.95, .seed = 5};
        scheduler.Submit(request,
                         {.done = [&, i](const Completion& done) { tokens[i] = done.tokens; }});
      }
      while (scheduler.Step()) {
      }
    });
    for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i].size(), 12 + i);
  }
  EXPECT_EQ(results[0], results[1]);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, BatchBitsTest,
                         testing::Combine(testing::Values(Dtypes{DType::kF32, DType::kF32},
                                                          Dtypes{DType::kF32, DType::kI8},
                                                          Dtypes{DType::kBF16, DType::kBF16},
                                                          Dtypes{DType::kBF16, DType::kI8}),
                                          testing::Values(1, 3),
                                          testing::Values(uint64_t{3}, uint64_t{11}, uint64_t{12})),
                         [](const auto& model) {
                           const Dtypes dtypes = std::get<0>(model.param);
                           return fmt::format("{}_{}_ranks{}_seed{}", DTypeName(dtypes.dtype),
                                              DTypeName(dtypes.kv_dtype), std::get<1>(model.param),
                                              std::get<2>(model.param));
                         });

}  // namespace
}  // namespace kvfold
