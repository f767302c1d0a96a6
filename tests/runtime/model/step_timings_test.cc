#include "runtime/model/step_timings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

// A stream whose clock is the test's: it tells which moments were waited for.
class StoppedStream : public Stream {
 public:
  void Synchronize() override { ++n_synchronized; }
  std::unique_ptr<StreamClock> MakeClock(int64_t n_moments) override {
    return std::make_unique<Clock>(*this, n_moments);
  }

  double now_s = 0.0;
  int n_synchronized = 0;
  int n_marked = 0;
  int n_read = 0;

 private:
  class Clock : public StreamClock {
   public:
    Clock(StoppedStream& stream, int64_t n_moments)
        : stream_(stream), moments_(static_cast<size_t>(n_moments)) {}
    void Mark(int64_t moment) override {
      moments_.at(static_cast<size_t>(moment)) = stream_.now_s;
      ++stream_.n_marked;
    }
    double Seconds(int64_t from, int64_t to) override {
      ++stream_.n_read;
      return moments_.at(static_cast<size_t>(to)) - moments_.at(static_cast<size_t>(from));
    }

   private:
    StoppedStream& stream_;
    std::vector<double> moments_;
  };
};

void Spend(StoppedStream& stream, SectionClock& clock, double StepTimings::*sum, double seconds) {
  clock.Begin();
  stream.now_s += seconds;
  clock.End(sum);
}

TEST(SectionClock, AddsSectionsToTheirSums) {
  StoppedStream stream;
  SectionClock clock(stream);
  Spend(stream, clock, &StepTimings::linear_s, 1.0);
  stream.now_s += 100.0;  // the rest
  Spend(stream, clock, &StepTimings::attention_s, 2.0);
  Spend(stream, clock, &StepTimings::linear_s, 4.0);
  Spend(stream, clock, &StepTimings::communication_s, 8.0);
  StepTimings timings;
  timings.linear_s = 16.0;
  timings.attention_flop = 3.0;
  clock.AddTo(timings);
  EXPECT_EQ(timings.linear_s, 21.0);
  EXPECT_EQ(timings.attention_s, 2.0);
  EXPECT_EQ(timings.communication_s, 8.0);
  EXPECT_EQ(timings.attention_flop, 3.0);
  clock.AddTo(timings);  // nothing twice
  EXPECT_EQ(timings.linear_s, 21.0);
}

TEST(SectionClock, ReadsNothingBeforeItMust) {
  for (const int64_t most : {1, 2, 5}) {
    for (const int64_t n_sections : {most - 1, most, most + 1, 3 * most + 1}) {
      StoppedStream stream;
      SectionClock clock(stream, most);
      double want_s = 0.0;
      for (int64_t i = 0; i < n_sections; ++i) {
        Spend(stream, clock, &StepTimings::attention_s, static_cast<double>(i + 1));
        want_s += static_cast<double>(i + 1);
        EXPECT_EQ(stream.n_read, std::max(int64_t{0}, i + 1 - most));
      }
      EXPECT_EQ(stream.n_marked, 2 * n_sections);
      StepTimings timings;
      clock.AddTo(timings);
      EXPECT_EQ(timings.attention_s, want_s) << n_sections << " sections, room for " << most;
      EXPECT_EQ(stream.n_read, n_sections);
      EXPECT_EQ(stream.n_synchronized, 0);
    }
  }
}

TEST(SectionClock, ForgetsWhatWasNotEnded) {
  StoppedStream stream;
  SectionClock clock(stream, 2);
  clock.Begin();
  stream.now_s += 7.0;
  Spend(stream, clock, &StepTimings::linear_s, 1.0);
  StepTimings timings;
  clock.AddTo(timings);
  EXPECT_EQ(timings.linear_s, 1.0);
}

TEST(EngineTimings, AreTakenWhereTheyAreAskedFor) {
  const ModelConfig config = RandomConfig(1);
  const RandomCheckpoint checkpoint(config, 1);
  const std::vector<TokenId> tokens(40, 1);
  for (const bool timed : {false, true}) {
    const LocalModelOptions options{
        .chunk = 16, .max_tokens = 40, .config = config, .checkpoint = &checkpoint};
    RunLocalModel("random", options, [&](LocalRank& rank) {
      rank.engine.SetTimed(timed);
      const auto start = std::chrono::steady_clock::now();
      ScoreTokens(rank.engine, rank.embeddings, tokens, options.chunk, {});
      const double wall_s =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      const StepTimings timings = rank.engine.TakeTimings();
      EXPECT_GT(timings.linear_flop, 0.0);
      EXPECT_GT(timings.attention_flop, 0.0);
      EXPECT_EQ(timings.linear_s > 0.0, timed);
      EXPECT_EQ(timings.attention_s > 0.0, timed);
      EXPECT_LE(timings.linear_s + timings.attention_s + timings.communication_s, wall_s);
      EXPECT_EQ(rank.engine.TakeTimings().linear_flop, 0.0);
    });
  }
}

}  // namespace
}  // namespace kvfold
