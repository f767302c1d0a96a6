// comm/local/pretend_group.h: rank 0 of a group whose other ranks are not there: to measure one
// rank's share of a model that many would hold, on the one device at hand.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace kvfold {

// A communicator of rank 0 of `size`. Nothing is communicated: sums and gathers of device views
// leave the view (checked in shape) as it is, so that results mean nothing and times hold no
// communication; bytes gathered from the hosts are rank 0's own, `size` times. Works over views of
// any device. Requires size >= 1.
std::unique_ptr<Communicator> MakePretendCommunicator(int size);

}  // namespace kvfold
