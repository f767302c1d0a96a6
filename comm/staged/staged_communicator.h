// comm/staged/staged_communicator.h: device data through host memory and a communicator of the
// hosts. Slow, and right wherever ranks can talk at all: several ranks on one GPU, no NCCL.
//
// Sums are the host communicator's, in rank order: bit for bit what ranks on CPUs get. bf16 views
// are summed in f32 and rounded once.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/device/device_transfer.h"

namespace kvfold {

// Borrows `host`, which outlives it and carries the control calls. A group of one moves nothing but
// what AllGather copies, and says "local".
std::unique_ptr<Communicator> MakeStagedCommunicator(Communicator& host,
                                                     std::unique_ptr<DeviceTransfer> transfer);

}  // namespace kvfold
