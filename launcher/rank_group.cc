#include "launcher/rank_group.h"

#include <cstdlib>

#include "comm/local/local_group.h"

namespace kvfold {

RankGroup::RankGroup() {
  if (StartedUnderMpi()) {
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

int RankFromEnvironment() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* value = std::getenv(variable)) return std::atoi(value);
  }
  return 0;
}

}  // namespace kvfold
