// comm/mpi/window_sum.h: the sum over ranks in rank order through memory that all ranks of one host
// share (comm/mpi/shared_memory.h: the window).
//
// A turn sums one piece of the view. Each rank copies its input into its own part of the window and
// arrives. Few elements: every rank adds all inputs itself, and is done. Many: every rank adds its
// own share, puts the sums where its input was, arrives again, and copies the other shares. Parts
// hold two inputs used in turn: whoever writes one for turn t + 2 has seen all ranks arrive in turn
// t + 1, so nobody still reads it for turn t.
#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "comm/mpi/shared_memory.h"

namespace kvfold::internal {

class WindowSum {
 public:
  // Collective; all ranks of `communicator` must be on one host. Throws CommError, on every rank or
  // none, where they cannot have the memory. Borrows `communicator`, which outlives it.
  WindowSum(MPI_Comm communicator, int rank, int size);
  WindowSum(const WindowSum&) = delete;
  WindowSum& operator=(const WindowSum&) = delete;

  // Throws ShapeError on every rank if the ranks bring different numbers of elements.
  void Run(float* view, int64_t n_elements);

 private:
  // One rank's part of the window: this line, then two inputs of kPieceElements each.
  struct alignas(64) Head {
    std::atomic<uint64_t> n_arrivals;
    int64_t n_elements[2];  // of the call, by the turn's parity
  };

  float* Input(int rank) const;  // of this turn
  void Arrive();                 // and wait for all others
  bool AllArrived() const;
  void CheckSizes(int64_t n_elements) const;
  void RunGathered(float* view, int64_t n_elements);
  void RunShared(float* view, int64_t n_elements);

  MPI_Comm communicator_;
  int rank_;
  int size_;
  std::chrono::nanoseconds spin_budget_;
  SharedMemory memory_;
  std::vector<Head*> heads_;          // [size]
  std::vector<const float*> inputs_;  // [size]
  uint64_t n_arrivals_ = 0;           // of this rank
  uint64_t turn_ = 0;
};

}  // namespace kvfold::internal
