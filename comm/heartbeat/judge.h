// comm/heartbeat/judge.h: from what is heard of the ranks to a verdict. No sockets, no clock of its
// own: fed with moments and beats, so that it can be tested to the millisecond.
//
// Every rank judges, only one speaks: the lowest that has neither gone nor left; rank 0 while it is
// there. A rank has gone when its connection closed without a farewell or it was silent for
// limits.silence. It is stuck when its beats come but its progress does not, for step_timeout in
// which another rank waits for it; or, where all wait, when it is the one least far. A rank that
// advances, however slowly, is left alone.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "comm/heartbeat/progress.h"

namespace kvfold {

// Whom the job's end is blamed on, and why.
struct Verdict {
  int rank = 0;
  ProgressView place;  // about where it was
  std::string cause;
  int exit_code = 1;
};

struct JudgeLimits {
  std::chrono::milliseconds silence{5000};
  // A farewell may still be on its way when the end of its connection is told.
  std::chrono::milliseconds farewell{100};
  // A failed collective is often but the echo of a rank that has gone, which is to be named
  // instead.
  std::chrono::milliseconds echo{400};
  // Not heard of for so long, everybody at once: it was this process that slept.
  std::chrono::milliseconds own_sleep{2000};
  std::chrono::milliseconds step_timeout{0};  // 0: never
};

class Judge {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `watched` are the ranks that this one hears, itself among them or not. From `now` on they must
  // be heard.
  Judge(int self, const std::vector<int>& watched, const JudgeLimits& limits, Time now);

  void SetStepTimeout(std::chrono::milliseconds timeout) { limits_.step_timeout = timeout; }
  void Heard(Time now, int rank, const ProgressView& progress);
  void Closed(Time now, int rank);
  void Left(int rank);
  // That rank has read this one's farewell.
  void FarewellRead(int rank);
  void Failed(Time now, int rank, const ProgressView& progress, const std::string& sentence,
              int exit_code, bool in_communication);

  // The verdict, if there is one and this rank is to speak it. To be called several times a second.
  std::optional<Verdict> Decide(Time now);
  // Whether a rank's connection has closed and nobody knows yet whether that was its farewell.
  bool undecided() const;
  // Whether no watched rank can take this one's end for a death any more: each has read its
  // farewell, or has left or closed itself.
  bool farewell_read() const;

 private:
  struct Failure {
    Time at;
    std::string sentence;
    int exit_code = 1;
    bool in_communication = false;
  };
  struct Rank {
    int rank = 0;
    bool left = false;
    bool farewell_read = false;  // by it
    Time heard, advanced;
    std::optional<Time> closed;
    std::optional<Failure> failure;
    ProgressView progress;
  };

  Rank* Find(int rank);
  bool Gone(const Rank& rank, Time now) const;
  bool Speaks(Time now) const;
  void ForgiveOwnSleep(Time now);
  std::optional<Verdict> FindFailed(Time now, bool in_communication) const;
  std::optional<Verdict> FindGone(Time now) const;
  std::optional<Verdict> FindStuck() const;
  ProgressView LastPlace(const Rank& rank) const;

  int self_;
  JudgeLimits limits_;
  std::vector<Rank> ranks_;  // watched and self, rising
  Time decided_;
  std::optional<Time> overslept_;  // when it woke from a sleep that others may have judged
};

// "rank 2 on node7, device cpu, step 7 layer 12: CAUSE".
std::string VerdictSentence(const Verdict& verdict, const std::string& host,
                            const std::string& device);
// "step 7 layer 12", "step 0, loading (tensor 5)", "step 0, starting".
std::string PlaceText(const ProgressView& place);

}  // namespace kvfold
