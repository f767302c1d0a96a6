// comm/local/local_group.h: ranks as threads of one process, for tests. Clean under ThreadSanitizer.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace kvfold {

// `size` communicators of one group; each is used by one thread. They share state that lives as long as any of them.
std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int size);

// Runs body(communicator of the rank) on `size` threads and joins them. If a body throws, the group is aborted so that
// no other rank waits for ever, and the lowest rank's own exception (not the CommError that the abort caused) is rethrown.
void RunLocalRanks(int size, const std::function<void(Communicator&)>& body);

}  // namespace kvfold
