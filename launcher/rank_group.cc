#include "launcher/rank_group.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "comm/local/local_group.h"
#include "comm/local/pretend_group.h"
#include "launcher/agreement.h"

namespace kvfold {

RankGroup::RankGroup(int pretend_ranks) : pretended_(pretend_ranks > 0) {
  if (pretended_) {
    if (StartedUnderMpi()) {
      throw InputError(
          "--pretend-ranks stands for ranks that are not there: start it without mpirun");
    }
    communicator_ = MakePretendCommunicator(pretend_ranks);
  } else if (StartedUnderMpi()) {
    session_ = std::make_unique<MpiSession>();
    communicator_ = session_->MakeCommunicator();
  } else {
    communicator_ = std::move(MakeLocalGroup(1).front());
  }
}

RankGroup::~RankGroup() {
  try {
    communicator_->Close();
  } catch (const std::exception&) {
    // The process ends; MPI's own finalisation says what is wrong.
  }
}

int WithRanks(std::string_view command, const std::function<int(RankGroup&)>& body,
              int pretend_ranks) {
  RankGroup group(pretend_ranks);
  try {
    AgreeOn(group.communicator(), "kvfold", KVFOLD_VERSION);
    AgreeOn(group.communicator(), "the command", command);
    return body(group);
  } catch (const AgreedError& error) {
    // Said before MPI ends: mpirun ends all ranks as soon as one of them has gone with such a code.
    if (group.rank() == 0) Say(error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    if (group.size() == 1 || group.pretended()) throw;
    const auto* const known = dynamic_cast<const Error*>(&error);
    Say(fmt::format("rank {}: {}", group.rank(), error.what()));
    group.communicator().Abort("", static_cast<int>(known ? known->code() : ErrorCode::kFailed));
    throw;
  }
}

void Say(std::string_view sentence) {
  // One write, so that sentences of several ranks do not mix.
  const std::string line = fmt::format("kvfold: {}\n", sentence);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

int RankFromEnvironment() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* value = std::getenv(variable)) return std::atoi(value);
  }
  return 0;
}

}  // namespace kvfold
