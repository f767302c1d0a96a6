// comm/local/local_group.h: ranks as threads of one process, for tests. Clean under
// ThreadSanitizer.
//
// A problem is everybody's: where ranks disagree in shape every rank throws the same ShapeError and
// the group goes on; where they disagree in the call itself, or a rank has been closed or aborted
// the group, every rank that calls or waits throws CommError. No rank waits for one that has left.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace kvfold {

// `size` communicators of one group; each is used by one thread. They share state that lives as
// long as any of them. Requires size >= 1. Abort's exit code has no meaning among threads and is
// ignored.
std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int size);

// Runs body(communicator of the rank) on `size` threads and joins them. If a body throws, the group
// is aborted so that no other rank waits for ever, and the lowest rank's own exception (not the
// CommError that the abort caused) is rethrown.
void RunLocalRanks(int size, const std::function<void(Communicator&)>& body);

}  // namespace kvfold
