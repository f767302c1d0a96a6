// comm/nccl/nccl_communicator.h: device data by NCCL, on the compute stream; everything that the
// hosts tell each other by another communicator (MPI's, as a rule).
//
// Collectives are enqueued and follow the kernels before them; nothing waits on the host. A sum's
// order over ranks is NCCL's: the same every run for a given group and view, but for more than two
// ranks an element's bits may depend on where in the view it lies.
//
// NCCL's communicator does not block: a rank that has gone is seen by PollAsyncError, from any
// thread, while the GPU still waits for it, and Abort ends that wait.
#pragma once

#include <chrono>
#include <memory>

#include "comm/communicator.h"
#include "comm/nccl/nccl_library.h"

struct CUstream_st;

namespace kvfold {

struct NcclOptions {
  // Several ranks of this group share a GPU: NCCL 2.30 and later can, with few thread blocks each.
  // Set on all ranks or none.
  bool shares_devices = false;
  // How long the ranks may take to meet.
  std::chrono::milliseconds meeting{120000};
  // The native stream of a Stream; tests without a GPU have another. Null: NativeStream.
  CUstream_st* (*native_stream)(Stream& stream) = nullptr;
};

// All ranks together, on the thread whose current device is the rank's GPU. Borrows `host`, which
// outlives it and carries the control calls, and `library`. Throws CommError on failure: the others
// may then still wait for the meeting to end.
std::unique_ptr<Communicator> MakeNcclCommunicator(Communicator& host, const NcclLibrary& library,
                                                   const NcclOptions& options);

}  // namespace kvfold
