// The judgement alone: moments and beats in, verdicts out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "comm/heartbeat/judge.h"
#include "comm/heartbeat/progress.h"

namespace kvfold {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr milliseconds kStepTimeout{10000};

ProgressView At(Phase phase, int64_t step, int64_t layer, uint64_t count = 0) {
  return {phase, step, layer, count};
}

// A judge whose clock the test drives. Every kLook all ranks that are not hushed beat what they
// have been set to.
class Bench {
 public:
  static constexpr milliseconds kLook{100};

  explicit Bench(int self, int size, milliseconds step_timeout = kStepTimeout)
      : self_(self),
        judge_(self, Watched(size), {.step_timeout = step_timeout}, now_),
        places_(size),
        hushed_(size, false) {}

  void Set(int rank, const ProgressView& place) { places_[rank] = place; }
  void Hush(int rank) { hushed_[rank] = true; }
  void Close(int rank) {
    Hush(rank);
    judge_.Closed(now_, rank);
  }
  void Leave(int rank) {
    Hush(rank);
    judge_.Left(rank);
  }
  void Fail(int rank, bool in_communication) {
    judge_.Failed(now_, rank, places_[rank], "it broke", 3, in_communication);
  }
  void Sleep(milliseconds time) { now_ += time; }  // without a look

  // The verdict at the end of `time`; one that comes sooner is returned too, and its moment told.
  std::optional<Verdict> Run(
      milliseconds time, const std::function<void()>& each_look = [] {}) {
    const auto end = now_ + time;
    const auto begin = now_;
    while (now_ < end) {
      now_ = std::min(now_ + kLook, end);
      each_look();
      for (size_t rank = 0; rank < places_.size(); ++rank) {
        if (!hushed_[rank]) judge_.Heard(now_, static_cast<int>(rank), places_[rank]);
      }
      if (auto verdict = judge_.Decide(now_)) {
        after_ = std::chrono::duration_cast<milliseconds>(now_ - begin);
        return verdict;
      }
    }
    return std::nullopt;
  }
  milliseconds after() const { return after_; }
  Judge& judge() { return judge_; }

 private:
  static std::vector<int> Watched(int size) {
    std::vector<int> all;
    for (int rank = 0; rank < size; ++rank) all.push_back(rank);
    return all;
  }

  int self_;
  Judge::Time now_{seconds(1000)};
  Judge judge_;
  std::vector<ProgressView> places_;
  std::vector<bool> hushed_;
  milliseconds after_{};
};

TEST(Judge, LeavesABeatingGroupAlone) {
  Bench bench(0, 3, milliseconds(0));
  EXPECT_FALSE(bench.Run(seconds(60)));
}

TEST(Judge, SilenceCountsFromItsLimit) {
  Bench bench(0, 3);
  bench.Run(seconds(1));
  bench.Hush(2);
  EXPECT_FALSE(bench.Run(milliseconds(4999)));
  const auto verdict = bench.Run(milliseconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->exit_code, 1);
  EXPECT_THAT(verdict->cause, HasSubstr("silent for 5 s"));
}

TEST(Judge, AnEndWithoutAFarewellIsADeath) {
  Bench bench(0, 2);
  bench.Close(1);
  EXPECT_FALSE(bench.Run(milliseconds(99)));
  EXPECT_TRUE(bench.judge().undecided());
  const auto verdict = bench.Run(milliseconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 1);
  EXPECT_THAT(verdict->cause, HasSubstr("killed"));
}

TEST(Judge, AFarewellMayComeAfterTheEndOrBefore) {
  Bench bench(0, 3);
  bench.Close(1);
  EXPECT_FALSE(bench.Run(milliseconds(99)));
  bench.Leave(1);
  bench.Leave(2);
  bench.Close(2);
  EXPECT_FALSE(bench.judge().undecided());
  EXPECT_FALSE(bench.Run(seconds(60)));
}

TEST(Judge, AFarewellIsReadWhenEveryRankHasReadItOrGone) {
  Bench bench(0, 4);
  bench.judge().FarewellRead(1);
  bench.Leave(2);
  EXPECT_FALSE(bench.judge().farewell_read());
  bench.Close(3);
  EXPECT_TRUE(bench.judge().farewell_read());
}

TEST(Judge, TheFirstOfManyDeathsIsTheCause) {
  Bench bench(0, 4);
  bench.Close(3);
  bench.Run(milliseconds(10));
  bench.Close(1);
  bench.Close(2);
  const auto verdict = bench.Run(seconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 3);
}

TEST(Judge, AFailureIsSaidInItsOwnWords) {
  Bench bench(0, 3);
  bench.Set(2, At(Phase::kComputing, 7, 12));
  bench.Fail(2, false);
  const auto verdict = bench.Run(milliseconds(100));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->cause, "it broke");
  EXPECT_EQ(verdict->exit_code, 3);
  EXPECT_EQ(verdict->place, At(Phase::kComputing, 7, 12));
}

TEST(Judge, AFailedCollectiveMayBeTheEchoOfADeath) {
  Bench bench(0, 3);
  bench.Fail(1, true);
  EXPECT_FALSE(bench.Run(milliseconds(200)));
  bench.Close(2);
  const auto verdict = bench.Run(seconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);

  Bench alone(0, 3);
  alone.Fail(1, true);
  EXPECT_FALSE(alone.Run(milliseconds(399)));
  const auto own = alone.Run(milliseconds(1));
  ASSERT_TRUE(own);
  EXPECT_EQ(own->rank, 1);
  EXPECT_EQ(own->cause, "it broke");
}

TEST(Judge, OnlyTheLowestThatIsThereSpeaks) {
  Bench deputy(1, 4);
  deputy.Close(3);
  EXPECT_FALSE(deputy.Run(seconds(60)));
  deputy.Close(0);
  const auto verdict = deputy.Run(seconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 3);  // the first

  Bench next(2, 4);
  next.Close(0);
  EXPECT_FALSE(next.Run(seconds(60)));  // rank 1 says it
  next.Hush(1);
  const auto second = next.Run(seconds(6));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->rank, 0);
}

TEST(Judge, ARankThatLeftNeedNotSpeak) {
  Bench deputy(1, 3);
  deputy.Leave(0);
  deputy.Close(2);
  const auto verdict = deputy.Run(seconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
}

TEST(Judge, NamesTheStuckRankThatOthersWaitFor) {
  Bench bench(0, 3);
  bench.Set(0, At(Phase::kWaiting, 5, 2));
  bench.Set(1, At(Phase::kWaiting, 5, 2));
  bench.Set(2, At(Phase::kComputing, 5, 1));
  EXPECT_FALSE(bench.Run(milliseconds(10000)));  // advanced at the first beat, 100 ms in
  const auto verdict = bench.Run(milliseconds(100));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->place, At(Phase::kComputing, 5, 1));
  EXPECT_THAT(verdict->cause, HasSubstr("no progress for 10 s"));
}

TEST(Judge, RankZeroMayBeTheStuckOne) {
  Bench bench(0, 2);
  bench.Set(0, At(Phase::kLoading, 0, 3));
  bench.Set(1, At(Phase::kWaiting, 0, 9));
  const auto verdict = bench.Run(seconds(11));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 0);
}

TEST(Judge, ASlowRankIsLeftAlone) {
  Bench bench(0, 2);
  bench.Set(0, At(Phase::kWaiting, 5, 2));
  uint64_t looks = 0;
  // A mark every 9.9 s of 10.
  EXPECT_FALSE(
      bench.Run(seconds(120), [&] { bench.Set(1, At(Phase::kComputing, 5, 2, ++looks / 99)); }));
}

TEST(Judge, NobodyIsStuckForWhomNobodyWaits) {
  Bench bench(0, 2);
  bench.Set(0, At(Phase::kComputing, 5, 2));
  bench.Set(1, At(Phase::kComputing, 5, 2));
  EXPECT_FALSE(bench.Run(seconds(60)));
  // The time of the wait counts, not that of the long call before it.
  bench.Set(0, At(Phase::kWaiting, 5, 2));
  EXPECT_FALSE(bench.Run(milliseconds(10000)));
  EXPECT_TRUE(bench.Run(milliseconds(100)));
}

TEST(Judge, PhasesWithoutABoundMayTakeAnyTime) {
  for (const Phase phase : {Phase::kStarting, Phase::kIdle, Phase::kEnding}) {
    Bench bench(0, 2);
    bench.Set(0, At(phase, 0, 0));
    bench.Set(1, At(Phase::kWaiting, 0, 0));
    EXPECT_FALSE(bench.Run(seconds(60))) << static_cast<int>(phase);
  }
}

TEST(Judge, WithoutAStepTimeoutNobodyIsStuck) {
  Bench bench(0, 2, milliseconds(0));
  bench.Set(0, At(Phase::kWaiting, 5, 2));
  bench.Set(1, At(Phase::kComputing, 5, 2));
  EXPECT_FALSE(bench.Run(seconds(3600)));
  bench.judge().SetStepTimeout(seconds(4000));
  EXPECT_FALSE(bench.Run(seconds(300)));
  EXPECT_TRUE(bench.Run(seconds(101)));
}

TEST(Judge, WhereAllWaitTheLeastFarIsNamed) {
  Bench bench(0, 3);
  bench.Set(0, At(Phase::kWaiting, 5, 3));
  bench.Set(1, At(Phase::kWaiting, 5, 2));
  bench.Set(2, At(Phase::kWaiting, 6, 0));
  EXPECT_FALSE(bench.Run(milliseconds(10000)));
  const auto verdict = bench.Run(milliseconds(100));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 1);
  EXPECT_THAT(verdict->cause, HasSubstr("every rank waits"));
}

TEST(Judge, AStoppedRankIsSilentNotStuck) {
  Bench bench(0, 2, milliseconds(2000));
  bench.Set(0, At(Phase::kWaiting, 5, 2));
  bench.Set(1, At(Phase::kComputing, 5, 2));
  bench.Run(milliseconds(500));
  bench.Hush(1);
  EXPECT_FALSE(bench.Run(milliseconds(4900)));
  const auto verdict = bench.Run(milliseconds(200));
  ASSERT_TRUE(verdict);
  EXPECT_THAT(verdict->cause, HasSubstr("silent"));
}

TEST(Judge, ItsOwnSleepIsNobodysSilence) {
  Bench bench(0, 3);
  bench.Run(seconds(1));
  bench.Hush(1);
  bench.Run(seconds(1));
  bench.Sleep(seconds(60));
  EXPECT_FALSE(bench.Run(milliseconds(3900)));
  const auto verdict = bench.Run(milliseconds(200));  // 5 s without the sleep
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 1);
}

// Stopped for so long that the others ended the job for it, and woken by its end.
TEST(Judge, WhoOversleptTakesAClosedConnectionForTheEcho) {
  const auto verdict_after = [](milliseconds sleep, milliseconds awake) {
    Bench bench(1, 2);
    bench.Set(1, At(Phase::kComputing, 5, 2));
    EXPECT_FALSE(bench.Run(seconds(1)));
    bench.Sleep(sleep - Bench::kLook);  // the look after it is of the sleep too
    EXPECT_FALSE(bench.Run(awake));
    bench.Close(0);
    return bench.Run(seconds(1));
  };
  const auto echo = verdict_after(milliseconds(4000), milliseconds(100));
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->rank, 1);
  EXPECT_THAT(echo->cause, HasSubstr("silent"));
  for (const auto& [sleep, awake] : {std::pair(milliseconds(3900), milliseconds(100)),
                                     std::pair(milliseconds(4000), milliseconds(6000))}) {
    const auto death = verdict_after(sleep, awake);
    ASSERT_TRUE(death);
    EXPECT_EQ(death->rank, 0);
    EXPECT_THAT(death->cause, HasSubstr("killed"));
  }
}

TEST(Judge, ALostRankWasAsFarAsTheOthers) {
  Bench bench(0, 2);
  bench.Set(1, At(Phase::kStarting, 0, 0));
  bench.Run(milliseconds(100));
  bench.Close(1);
  bench.Set(0, At(Phase::kWaiting, 7, 12));
  const auto verdict = bench.Run(seconds(1));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->place.step, 7);
  EXPECT_EQ(verdict->place.layer, 12);

  Bench loading(0, 2);
  loading.Set(0, At(Phase::kLoading, 0, 4));
  loading.Run(milliseconds(100));
  loading.Close(1);
  const auto lost = loading.Run(seconds(1));
  ASSERT_TRUE(lost);
  EXPECT_EQ(PlaceText(lost->place), "step 0, loading (tensor 0)");
}

TEST(Judge, StrangeRanksAreNobody) {
  Bench bench(0, 2);
  Judge::Time now{seconds(1000)};
  for (const int rank : {-1, 2, 1 << 30}) {
    bench.judge().Heard(now, rank, {});
    bench.judge().Closed(now, rank);
    bench.judge().Failed(now, rank, {}, "x", 1, false);
    bench.judge().Left(rank);
  }
  EXPECT_FALSE(bench.Run(seconds(10)));
}

TEST(Verdict, NamesRankHostDeviceStepAndCause) {
  const Verdict verdict{2, At(Phase::kComputing, 7, 12), "its cause", 1};
  EXPECT_EQ(VerdictSentence(verdict, "node7", "cpu"),
            "rank 2 on node7, device cpu, step 7 layer 12: its cause");
  EXPECT_EQ(PlaceText(At(Phase::kStarting, 0, 0)), "step 0, starting");
  EXPECT_EQ(PlaceText(At(Phase::kLoading, 0, 5)), "step 0, loading (tensor 5)");
  EXPECT_EQ(PlaceText(At(Phase::kWaiting, 1, 0)), "step 1 layer 0");
}

TEST(RankProgress, CountsEveryMarkAndComesBackFromAWait) {
  RankProgress progress;
  std::vector<ProgressView> seen;
  progress.SetObserver([&](const ProgressView& at) { seen.push_back(at); });
  progress.TensorLoaded();
  progress.TensorLoaded();
  EXPECT_EQ(progress.Read(), At(Phase::kLoading, 0, 2, 2));
  progress.BeginStep();
  progress.BeginLayer(1);
  {
    const WaitMark mark(progress);
    EXPECT_EQ(progress.Read(), At(Phase::kWaiting, 1, 1, 5));
  }
  EXPECT_EQ(progress.Read(), At(Phase::kComputing, 1, 1, 6));
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[2].step, 1);
}

}  // namespace
}  // namespace kvfold
