// Every family against Hugging Face transformers (float32, eager): logits within 1e-4 for every
// chunking and number of ranks.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/all_close.h"
#include "tests/support/fixture.h"
#include "tests/support/local_model.h"

namespace kvfold {
namespace {

// transformers computes in float32 too: 1e-4 on logits of about 1 to 10 is some 100 roundings
// apart, and 100 times less than what any switch moves (SwitchTest).
constexpr double kTolerance = 1e-4;

class FixtureTest : public testing::TestWithParam<std::string> {};

TEST_P(FixtureTest, LogitsEqualTransformersForEveryChunkAndRankCount) {
  const auto reference = FixtureModel(GetParam()) / "reference";
  const std::vector<TokenId> tokens = ReadTokens(reference / "tokens.json");
  const std::vector<float> want = ReadNpy<float>(reference / "logits.npy");
  const ModelConfig config = ReadModelConfig(FixtureCheckpoint(GetParam()));
  ASSERT_EQ(want.size(), tokens.size() * static_cast<size_t>(config.vocab_size));
  for (const int tp_size : {1, 2, 3, 4}) {
    if (tp_size > config.n_heads) continue;
    for (const int64_t chunk :
         {int64_t{1}, int64_t{7}, int64_t{64}, static_cast<int64_t>(tokens.size())}) {
      const std::vector<float> got =
          LocalLogits(FixtureCheckpoint(GetParam()), tokens, {.tp_size = tp_size, .chunk = chunk});
      EXPECT_TRUE(AllClose(got, want, kTolerance)) << "tp_size " << tp_size << ", chunk " << chunk;
    }
  }
}

TEST_P(FixtureTest, GreedyTextEqualsTransformers) {
  const auto reference = FixtureModel(GetParam()) / "reference";
  const std::vector<TokenId> tokens = ReadTokens(reference / "tokens.json");
  const auto greedy = ReadJson(reference / "greedy.json");
  const std::vector<TokenId> want =
      (greedy.is_array() ? greedy : greedy.at("tokens")).get<std::vector<TokenId>>();
  for (const int tp_size : {1, 3}) {
    std::vector<TokenId> got;
    RunLocalModel(FixtureCheckpoint(GetParam()), {.tp_size = tp_size}, [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 64});
      Request request;
      request.tokens = tokens;
      request.max_new_tokens = static_cast<int64_t>(want.size());
      scheduler.Submit(request,
                       {.done = [&](const Completion& completion) { got = completion.tokens; }});
      while (scheduler.Step()) {
      }
    });
    EXPECT_EQ(got, want) << "tp_size " << tp_size;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FixtureTest, testing::ValuesIn(FixtureModels()),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace kvfold
