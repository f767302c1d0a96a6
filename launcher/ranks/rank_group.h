// launcher/ranks/rank_group.h: the ranks of this job: those that mpirun or srun started, or this
// process alone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "comm/communicator.h"
#include "comm/heartbeat/heartbeat.h"
#include "comm/mpi/mpi_communicator.h"

namespace kvfold {

class RankGroup {
 public:
  // Starts MPI where the process was started under it. pretend_ranks > 0: rank 0 of so many that
  // are not there (comm/local/pretend_group.h); throws InputError under MPI. Where the ranks do not
  // come together within the timeout (20 s at least; 0: for ever), one sentence says what is waited
  // for and the process ends.
  explicit RankGroup(std::chrono::seconds timeout, int pretend_ranks = 0);
  ~RankGroup();  // closes the communicator, then MPI
  Communicator& communicator() { return *communicator_; }
  int rank() const { return communicator_->rank(); }
  int size() const { return communicator_->size(); }
  // Ranks on this host, this one among them: they share its cores.
  int host_size() const { return session_ ? session_->host_size() : 1; }
  // This one's place among them.
  int host_rank() const { return session_ ? session_->host_rank() : 0; }
  bool pretended() const { return pretended_; }

  // This rank's device, as messages of ranks that have gone name it. All ranks together.
  void NameDevice(const std::string& device);
  // How long a rank may make no progress while others wait for it, as rank 0 says; 0: for ever.
  void SetStepTimeout(std::chrono::seconds timeout);
  // Ends the whole job because this rank alone has failed: one sentence, which names its place, and
  // the error's exit code from all. Does not return where there are other ranks.
  void EndAll(const std::exception& error);

 private:
  void StartHeartbeat();

  std::unique_ptr<MpiSession> session_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Heartbeat> heartbeat_;  // of several processes that can reach each other
  bool pretended_ = false;
};

// Runs `body` on all ranks of the job, which agree on version and command first; returns the exit
// code: the body's, or that of an AgreedError, which rank 0 says. Any other exception of one of
// several ranks is said with its rank and ends the job, since the others may wait; that of a lone
// one is said and is its exit code. Ranks that die, stop or hang meanwhile end the job likewise
// (comm/heartbeat/heartbeat.h). timeout: as RankGroup's.
int WithRanks(std::string_view command, std::chrono::seconds timeout,
              const std::function<int(RankGroup&)>& body, int pretend_ranks = 0);

// "kvfold: SENTENCE" on standard error, on one line: foreign text in it is made Printable.
void Say(std::string_view sentence);

}  // namespace kvfold
