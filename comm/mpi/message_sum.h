// comm/mpi/message_sum.h: the sum over ranks in rank order by messages, for ranks on any hosts.
//
// Few elements: every rank gets all inputs and adds them itself (one exchange). Many: every rank
// gets all inputs of its own share of the elements, adds them, and hands the sums round (two
// exchanges, 2 (N-1)/N times the view sent by each rank, as in the usual ring).
#pragma once

#include <mpi.h>

#include <cstdint>
#include <vector>

#include "comm/device/device.h"

namespace kvfold::internal {

class MessageSum {
 public:
  // Borrows `communicator`, which outlives it. Takes all the memory it will ever need.
  MessageSum(MPI_Comm communicator, int rank, int size, int64_t largest_message_bytes);

  void Run(float* view, int64_t n_elements);

 private:
  void RunGathered(float* view, int64_t n_elements);
  void RunShared(float* view, int64_t n_elements);

  MPI_Comm communicator_;
  int rank_;
  int size_;
  int64_t piece_elements_;            // most elements of a view taken at a time
  std::vector<float> scratch_;        // inputs of all ranks, one after the other
  std::vector<const float*> inputs_;  // [size] into scratch_
  std::vector<int> send_counts_, send_starts_, receive_counts_,
      receive_starts_;  // [size], elements
};

}  // namespace kvfold::internal
