#include "runtime/fold/step_plan.h"

#include <gtest/gtest.h>

#include <limits>
#include <mutex>

#include "comm/local/local_group.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

void ExpectSame(const StepPlan& got, const StepPlan& want) {
  EXPECT_EQ(got.stop, want.stop);
  EXPECT_EQ(got.logit_use, want.logit_use);
  EXPECT_EQ(got.releases, want.releases);
  ASSERT_EQ(got.forks.size(), want.forks.size());
  for (size_t i = 0; i < want.forks.size(); ++i) {
    EXPECT_EQ(got.forks[i].id, want.forks[i].id);
    EXPECT_EQ(got.forks[i].parent, want.forks[i].parent);
    EXPECT_EQ(got.forks[i].length, want.forks[i].length);
  }
  ASSERT_EQ(got.sequences.size(), want.sequences.size());
  for (size_t i = 0; i < want.sequences.size(); ++i) {
    EXPECT_EQ(got.sequences[i].id, want.sequences[i].id);
    EXPECT_EQ(got.sequences[i].begin, want.sequences[i].begin);
    EXPECT_EQ(got.sequences[i].n_tokens, want.sequences[i].n_tokens);
    EXPECT_EQ(got.sequences[i].n_logit_rows, want.sequences[i].n_logit_rows);
  }
  EXPECT_EQ(got.targets, want.targets);
  EXPECT_TRUE(SameBits(got.embeddings, want.embeddings));
}

TEST(StepPlanTest, CountsRows) {
  StepPlan plan;
  EXPECT_EQ(plan.rows(), 0);
  EXPECT_EQ(plan.wanted_rows(), 0);
  plan.sequences = {{1, 0, 7, 0}, {2, 5, 1, 1}, {3, 0, 4, 4}};
  EXPECT_EQ(plan.rows(), 12);
  EXPECT_EQ(plan.wanted_rows(), 5);
}

TEST(StepPlanTest, ClearedItIsANewOneInTheSameMemory) {
  StepPlan plan;
  plan.stop = true;
  plan.logit_use = LogitUse::kGather;
  plan.releases = {1};
  plan.forks = {{2, 1, 3}};
  plan.sequences = {{2, 3, 1, 1}};
  plan.targets = {7};
  plan.embeddings.assign(1000, 1.0f);
  plan.Clear();
  ExpectSame(plan, StepPlan());
  EXPECT_GE(plan.embeddings.capacity(), 1000u);
}

TEST(StepPlanTest, EveryRankGetsRankZerosPlan) {
  std::vector<StepPlan> plans(5);
  plans[0].logit_use = LogitUse::kStatistics;
  plans[0].releases = {3, -1, int64_t{1} << 40};
  plans[0].forks = {{4, 1, 0}, {int64_t{1} << 60, 4, int64_t{1} << 41}};
  plans[0].sequences = {{1, 0, 2, 0}, {int64_t{1} << 50, 123456789012, 1, 1}};
  plans[0].targets = {0, 2147483647};
  plans[0].embeddings = {1.5f, -0.0f, std::numeric_limits<float>::quiet_NaN(),
                         std::numeric_limits<float>::denorm_min(), 1e38f};
  plans[1].logit_use = LogitUse::kGather;  // shorter than the one before it
  plans[1].sequences = {{9, 1, 1, 1}};
  plans[1].embeddings = {2.0f};
  plans[2].releases = {9};                     // releases alone
  plans[3].embeddings.assign(100'000, 0.25f);  // longer than any before it
  plans[4].stop = true;
  for (const int n_ranks : {1, 2, 3}) {
    std::mutex mutex;
    RunLocalRanks(n_ranks, [&](Communicator& communicator) {
      StepPlan plan;  // the same one is filled again and again, as Engine::Follow does
      for (const StepPlan& want : plans) {
        if (communicator.rank() == 0) plan = want;
        BroadcastPlan(communicator, plan);
        const std::lock_guard lock(mutex);
        ExpectSame(plan, want);
      }
    });
  }
}

}  // namespace
}  // namespace kvfold
