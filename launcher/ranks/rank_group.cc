#include "launcher/ranks/rank_group.h"

#include <fmt/format.h>

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "comm/local/local_group.h"
#include "comm/local/pretend_group.h"
#include "launcher/ranks/agreement.h"
#include "launcher/ranks/fault.h"
#include "launcher/ranks/startup_watch.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr const char* kOutOfMemory = "out of memory";

int ExitCode(const std::exception& error) {
  const auto* const known = dynamic_cast<const Error*>(&error);
  return static_cast<int>(known ? known->code() : ErrorCode::kFailed);
}

// The two are called from the heartbeat's thread or the start-up's watch, while the process's own
// thread may hang anywhere: nothing is unwound.
void SayLast(const std::string& sentence) {
  Say(sentence);
  flockfile(stderr);  // for ever: whoever else has something to say waits for the end
}

// MPI takes its seconds to start on a machine that is busy, or whose disk is, whatever is said of
// steps.
constexpr std::chrono::seconds kShortestStart{20};

[[noreturn]] void EndProcess(int exit_code) { _exit(exit_code); }

}  // namespace

RankGroup::RankGroup(std::chrono::seconds timeout, int pretend_ranks)
    : pretended_(pretend_ranks > 0) {
  if (pretended_) {
    if (StartedUnderMpi()) {
      throw InputError(
          "--pretend-ranks stands for ranks that are not there: start it without mpirun");
    }
    communicator_ = MakePretendCommunicator(pretend_ranks);
  } else if (StartedUnderMpi()) {
    StartupWatch watch(
        {.timeout = timeout.count() == 0 ? timeout : std::max(timeout, kShortestStart),
         .rank = RankFromEnvironment(),
         .say = SayLast,
         .end = EndProcess});
    watch.WaitFor("all ranks to start MPI (MPI_Init)");
    session_ = std::make_unique<MpiSession>();
    watch.WaitFor("the others to set up how they communicate, over MPI");
    communicator_ = session_->MakeCommunicator();
    watch.WaitFor("the others to tell, over MPI, where their heartbeat listens");
    if (size() > 1) StartHeartbeat();
  } else {
    communicator_ = std::move(MakeLocalGroup(1).front());
  }
  if (size() > 1 || pretended_) return;
  if (const std::string warning = LoneRankWarning(); !warning.empty()) spdlog::warn("{}", warning);
}

void RankGroup::StartHeartbeat() {
  try {
    heartbeat_ = std::make_unique<Heartbeat>(
        *communicator_, HeartbeatOptions{.device = "cpu", .say = SayLast, .end = EndProcess});
  } catch (const CommError& error) {
    if (rank() == 0) {
      spdlog::warn("ranks that stop or hang will not be noticed, there is no heartbeat: {}",
                   error.what());
    }
  }
}

void RankGroup::NameDevice(const std::string& device) {
  if (heartbeat_) heartbeat_->NameDevice(device);
}

void RankGroup::SetStepTimeout(std::chrono::seconds timeout) {
  if (heartbeat_) heartbeat_->SetStepTimeout(timeout);
}

void RankGroup::EndAll(const std::exception& error) {
  if (size() == 1 || pretended_) return;
  if (dynamic_cast<const std::bad_alloc*>(&error)) {
    EndAll(CapacityError(kOutOfMemory));
    return;
  }
  const int code = ExitCode(error);
  const bool in_communication = dynamic_cast<const CommError*>(&error) != nullptr;
  if (heartbeat_) heartbeat_->Fail(error.what(), code, in_communication);
  Say(fmt::format("rank {}: {}", rank(), error.what()));
  communicator_->Abort("", code);
}

RankGroup::~RankGroup() {
  if (heartbeat_) heartbeat_->Close();
  try {
    communicator_->Close();
  } catch (const std::exception&) {
    // The process ends; MPI's own finalisation says what is wrong.
  }
}

namespace {

int EndWith(RankGroup& group, const std::exception& error) {
  group.EndAll(error);
  Say(error.what());  // a lone process, whatever its environment says of others
  return ExitCode(error);
}

}  // namespace

int WithRanks(std::string_view command, std::chrono::seconds timeout,
              const std::function<int(RankGroup&)>& body, int pretend_ranks) {
  RankGroup group(timeout, pretend_ranks);
  try {
    AgreeOn(group.communicator(), "kvfold", KVFOLD_VERSION);
    AgreeOn(group.communicator(), "the command", command);
    RunTogether(group.communicator(), [&] { InstallFault(group.communicator()); });
    return body(group);
  } catch (const AgreedError& error) {
    // Said before MPI ends: mpirun ends all ranks as soon as one of them has gone with such a code.
    if (group.rank() == 0) Say(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    return EndWith(group, CapacityError(kOutOfMemory));
  } catch (const std::exception& error) {
    return EndWith(group, error);
  }
}

void Say(std::string_view sentence) {
  // One write, so that sentences of several ranks do not mix.
  const std::string line = fmt::format("kvfold: {}\n", Printable(sentence));
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace kvfold
