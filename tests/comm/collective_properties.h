// tests/comm/collective_properties.h: what must hold of every Communicator, whatever the transport.
// Ranks as threads check it in communicator_test.cc, ranks as processes in mpi_test.cc.
#pragma once

#include <span>
#include <string>

#include "comm/communicator.h"

namespace kvfold {

struct CollectiveProperty {
  const char* name;
  // Called by every rank of the group at once. Returns what did not hold on this rank, or an empty
  // string; makes the same calls either way, so that ranks stay in step.
  std::string (*check)(Communicator& communicator);
};

std::span<const CollectiveProperty> CollectiveProperties();

}  // namespace kvfold
