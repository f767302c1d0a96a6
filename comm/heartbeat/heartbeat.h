// comm/heartbeat/heartbeat.h: notices ranks that died, stopped or hang, says so in one sentence and
// ends the job everywhere. MPI notices none of this: it waits.
//
// A thread that never calls MPI tells the other ranks twice a second (more often while the rank
// moves) that it lives and how far it is, and hears the same of them. Rank 0 hears all and judges
// (comm/heartbeat/judge.h); the next few ranks are its deputies, hear all as well, and take its
// place where it is the one that has gone. The verdict is said once, by the judge, and told to all
// ranks, which end without a word.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/heartbeat/judge.h"
#include "comm/heartbeat/progress.h"

namespace kvfold {

struct HeartbeatOptions {
  std::string host;    // of this rank, as it is to be named; empty: HostName()
  std::string device;  // "cpu"; may be named anew when it is known
  std::chrono::milliseconds interval{500};
  // How long the ranks may take to find each other.
  std::chrono::milliseconds meeting{10000};
  JudgeLimits limits;
  // Both are called once at most, from the heartbeat's thread. Says the verdict's sentence, where
  // it is this rank that speaks; nobody in this process is to say anything after it.
  std::function<void(const std::string& sentence)> say;
  // Ends this process. It may return (in tests): the heartbeat is then over.
  std::function<void(int exit_code)> end;
};

class Heartbeat {
 public:
  // All ranks together, from the thread that calls the communicator; returns when every rank hears
  // those that it must. Throws CommError on all ranks, with one reason, where they cannot reach
  // each other. The communicator's progress() is what it tells; the communicator must outlive it.
  Heartbeat(Communicator& communicator, HeartbeatOptions options);
  ~Heartbeat();  // Close()
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // Names this rank's device ("cuda 0 NVIDIA H100 80GB HBM3", 63 characters at most). All ranks
  // together, from the thread that calls the communicator.
  void NameDevice(const std::string& device);

  // 0: a rank may take any time for a step. What counts is what the judge was told.
  void SetStepTimeout(std::chrono::milliseconds timeout);

  // This rank has failed alone and the others wait for it: the job is to end with this sentence,
  // unless it is but the echo of a rank that has gone (`in_communication`: a collective failed).
  // Returns only where no verdict comes within a few seconds.
  void Fail(const std::string& sentence, int exit_code, bool in_communication);

  // This rank has done all: its end is no death. Returns when the others have read so, a second
  // later at most. Where another has died just now, its verdict still comes. Nothing may be called
  // after.
  void Close();

 private:
  class Impl;
  Communicator& communicator_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvfold
