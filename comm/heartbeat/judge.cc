#include "comm/heartbeat/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace kvfold {
namespace {

using std::chrono::milliseconds;

// How old a rank's last beat may be when it stops: an interval of beats, and as much on its way.
constexpr milliseconds kBeatAge{1000};

std::string Seconds(milliseconds time) {
  return fmt::format("{:g} s", static_cast<double>(time.count()) / 1000.0);
}

// Whether a rank in this phase owes progress.
bool Works(Phase phase) { return phase == Phase::kLoading || phase == Phase::kComputing; }

bool Loads(const ProgressView& progress) {
  return progress.step == 0 && (progress.phase == Phase::kLoading || progress.layer > 0);
}

auto Position(const ProgressView& progress) { return std::tuple(progress.step, progress.layer); }

}  // namespace

Judge::Judge(int self, const std::vector<int>& watched, const JudgeLimits& limits, Time now)
    : self_(self), limits_(limits), decided_(now) {
  std::vector<int> all = watched;
  all.push_back(self);
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  for (const int rank : all) ranks_.push_back({.rank = rank, .heard = now, .advanced = now});
}

Judge::Rank* Judge::Find(int rank) {
  const auto found = std::ranges::find(ranks_, rank, &Rank::rank);
  return found == ranks_.end() ? nullptr : &*found;
}

void Judge::Heard(Time now, int rank, const ProgressView& progress) {
  Rank* const state = Find(rank);
  if (state == nullptr) return;
  if (progress != state->progress) state->advanced = now;
  state->progress = progress;
  state->heard = now;
}

void Judge::Closed(Time now, int rank) {
  Rank* const state = Find(rank);
  if (state != nullptr && !state->left && !state->closed) state->closed = now;
}

void Judge::Left(int rank) {
  if (Rank* const state = Find(rank)) state->left = true;
}

void Judge::FarewellRead(int rank) {
  if (Rank* const state = Find(rank)) state->farewell_read = true;
}

void Judge::Failed(Time now, int rank, const ProgressView& progress, const std::string& sentence,
                   int exit_code, bool in_communication) {
  Heard(now, rank, progress);
  Rank* const state = Find(rank);
  if (state == nullptr || state->failure) return;
  state->failure = Failure{now, sentence, exit_code, in_communication};
}

bool Judge::undecided() const {
  return std::ranges::any_of(ranks_, [](const Rank& rank) { return rank.closed && !rank.left; });
}

bool Judge::farewell_read() const {
  return std::ranges::all_of(ranks_, [this](const Rank& rank) {
    return rank.rank == self_ || rank.farewell_read || rank.left || rank.closed;
  });
}

std::optional<Verdict> Judge::Decide(Time now) {
  ForgiveOwnSleep(now);
  if (!Speaks(now)) return std::nullopt;
  if (auto verdict = FindFailed(now, /*in_communication=*/false)) return verdict;
  if (auto verdict = FindGone(now)) return verdict;
  if (auto verdict = FindFailed(now, /*in_communication=*/true)) return verdict;
  return FindStuck();
}

bool Judge::Gone(const Rank& rank, Time now) const {
  if (rank.rank == self_ || rank.left) return false;
  if (rank.closed && now - *rank.closed >= limits_.farewell) return true;
  return now - rank.heard >= limits_.silence;
}

bool Judge::Speaks(Time now) const {
  return std::ranges::all_of(
      ranks_, [&](const Rank& rank) { return rank.rank >= self_ || rank.left || Gone(rank, now); });
}

// A process that was stopped or starved has heard nobody in that time, and has told nobody: what
// was silent then is given the time anew.
void Judge::ForgiveOwnSleep(Time now) {
  const auto slept = now - decided_;
  decided_ = now;
  // The others count from the last beat they heard, which was sent a little before the sleep.
  if (slept >= limits_.silence - kBeatAge) overslept_ = now;
  if (slept < limits_.own_sleep) return;
  for (Rank& rank : ranks_) {
    rank.heard = std::min(rank.heard + slept, now);
    rank.advanced = std::min(rank.advanced + slept, now);
  }
}

std::optional<Verdict> Judge::FindFailed(Time now, bool in_communication) const {
  const Rank* first = nullptr;
  for (const Rank& rank : ranks_) {
    if (!rank.failure || rank.failure->in_communication != in_communication) continue;
    if (in_communication && now - rank.failure->at < limits_.echo) continue;
    if (first == nullptr || rank.failure->at < first->failure->at) first = &rank;
  }
  if (first == nullptr) return std::nullopt;
  return Verdict{first->rank, first->progress, first->failure->sentence, first->failure->exit_code};
}

std::optional<Verdict> Judge::FindGone(Time now) const {
  const Rank* first = nullptr;
  for (const Rank& rank : ranks_) {
    if (!Gone(rank, now)) continue;
    // The first that closed is the cause; one that is merely silent may only wait for it.
    const bool sooner =
        first != nullptr && (rank.closed && first->closed ? *rank.closed < *first->closed
                                                          : rank.closed && !first->closed);
    const bool silent_longer =
        first != nullptr && !rank.closed && !first->closed && rank.heard < first->heard;
    if (first == nullptr || sooner || silent_longer) first = &rank;
  }
  if (first == nullptr) return std::nullopt;
  const std::string silent =
      fmt::format("silent for {} (stopped, or its host is lost)", Seconds(limits_.silence));
  if (!first->closed) return Verdict{first->rank, LastPlace(*first), silent};
  // After such a sleep a closed connection is but the end of the job, which the others ended for
  // this rank.
  if (overslept_ && now - *overslept_ < limits_.silence) {
    for (const Rank& rank : ranks_) {
      if (rank.rank == self_) return Verdict{self_, LastPlace(rank), silent};
    }
  }
  return Verdict{first->rank, LastPlace(*first), "its process was killed or has crashed"};
}

std::optional<Verdict> Judge::FindStuck() const {
  if (limits_.step_timeout.count() <= 0) return std::nullopt;
  const Rank* least = nullptr;
  bool all_wait = true;
  for (const Rank& rank : ranks_) {
    if (rank.left) continue;
    if (rank.progress.phase == Phase::kWaiting &&
        rank.heard - rank.advanced >= limits_.step_timeout) {
      if (least == nullptr || Position(rank.progress) < Position(least->progress)) least = &rank;
      continue;
    }
    all_wait = false;
    if (!Works(rank.progress.phase)) continue;
    // Beats that say the same, while somebody waits: since when?
    std::optional<Time> awaited;
    for (const Rank& other : ranks_) {
      if (other.left || other.rank == rank.rank || other.progress.phase != Phase::kWaiting)
        continue;
      awaited = std::min(awaited.value_or(other.advanced), other.advanced);
    }
    if (awaited && rank.heard - std::max(rank.advanced, *awaited) >= limits_.step_timeout) {
      return Verdict{
          rank.rank, rank.progress,
          fmt::format("no progress for {} while other ranks wait for it (--step-timeout)",
                      Seconds(limits_.step_timeout))};
    }
  }
  if (!all_wait || least == nullptr) return std::nullopt;
  return Verdict{least->rank, least->progress,
                 fmt::format("no progress for {}: every rank waits for the others (--step-timeout)",
                             Seconds(limits_.step_timeout))};
}

// Ranks go in lockstep: wherever one of them is, the others have been just before it. A rank that
// has gone was as far as the furthest, whatever its last beat told.
ProgressView Judge::LastPlace(const Rank& rank) const {
  ProgressView place = rank.progress;
  for (const Rank& other : ranks_) {
    if (other.progress.step > 0 && Position(other.progress) > Position(place)) {
      place = other.progress;
    } else if (place.step == 0 && Loads(other.progress)) {
      place.phase = Phase::kLoading;
    }
  }
  return place;
}

std::string VerdictSentence(const Verdict& verdict, const std::string& host,
                            const std::string& device) {
  return fmt::format("rank {} on {}, device {}, {}: {}", verdict.rank, host, device,
                     PlaceText(verdict.place), verdict.cause);
}

std::string PlaceText(const ProgressView& place) {
  if (place.step > 0) return fmt::format("step {} layer {}", place.step, place.layer);
  if (Loads(place)) return fmt::format("step 0, loading (tensor {})", place.layer);
  return "step 0, starting";
}

}  // namespace kvfold
