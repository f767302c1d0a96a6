// comm/communicator.h: collectives over one tensor-parallel group, in stream order.
//
// Every rank issues the same calls in the same order; one calling thread per object. Views are
// contiguous and borrowed until `stream` has passed the call (for StartAllReduceSum: until it was
// awaited). Counts are elements.
//
// Sums are taken in rank order, ((r0 + r1) + r2) + ..., element by element, whatever the size of
// the view: an element's bits depend on the ranks' inputs for it alone, never on what else is in
// the view. (MPI_Allreduce does not promise this. `nccl` adds in an order of its own:
// comm/nccl/nccl_communicator.h.)
//
// Right:  auto sum = c.StartAllReduceSum(a, s); ...other work...; sum.Await();  // then read `a`
// Wrong:  c.StartAllReduceSum(a, s) twice before the first was awaited: both write `a`.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "comm/device/device.h"
#include "comm/device/tensor_view.h"
#include "comm/heartbeat/progress.h"

namespace kvfold {

// A collective under way. Await() returns when its result may be read in stream order. Dropped
// without Await, the destructor awaits it.
class PendingCollective {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual void Await() = 0;  // called exactly once
  };

  PendingCollective() = default;
  explicit PendingCollective(std::unique_ptr<State> state) : state_(std::move(state)) {}
  PendingCollective(PendingCollective&&) = default;
  // The destructor and the assignment, which awaits what it replaces, log what fails.
  PendingCollective& operator=(PendingCollective&& other) noexcept;
  ~PendingCollective();
  void Await();

 private:
  std::unique_ptr<State> state_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;  // in [0, size())
  virtual int size() const = 0;  // >= 1; a group of one is legal
  // How device data moves: "local", "mpi", "nccl 2.30.7", "staged over mpi".
  virtual std::string transport() const = 0;
  // How far this rank is. Who works marks it; `mpi` marks its collectives.
  virtual RankProgress& progress() { return progress_; }

  // Whether sums may be of bf16 views as well as f32 ones.
  virtual bool SumsBf16() const { return false; }
  // view[i] = sum over ranks r, in rank order, of view_r[i]; f32 (or bf16), in place. Empty views
  // return at once. Throws ShapeError if the view is not contiguous or of another type, CommError
  // (operation, rank, cause) on failure.
  virtual PendingCollective StartAllReduceSum(TensorView view, Stream& stream) = 0;
  void AllReduceSum(TensorView view, Stream& stream) { StartAllReduceSum(view, stream).Await(); }
  // out = rank 0's `in`, then rank 1's, ...: out.elements() == size() * in.elements(); every rank
  // brings as many elements.
  virtual void AllGather(ConstTensorView in, TensorView out, Stream& stream) = 0;
  // Rank `root`'s bytes to every rank. Host memory. Every rank passes a span of the same length.
  virtual void BroadcastBytes(std::span<std::byte> bytes, int root) = 0;
  // in.size() bytes of every rank, one after the other in rank order, on every rank. Host memory;
  // the same length everywhere.
  virtual void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) = 0;
  virtual void Barrier() = 0;
  // A sentence where a collective that was started has failed since, empty if none has. From any
  // thread: whoever watches this rank asks.
  virtual std::string PollAsyncError() { return {}; }
  // Ends the whole group: waiting ranks of `local` throw CommError with this reason; `mpi` calls
  // MPI_Abort(exit_code), `nccl` and `staged` end what waits on the GPU and do as their host's
  // communicator does.
  virtual void Abort(const std::string& reason, int exit_code) = 0;
  // Gives back what the transport holds. Called by the owner before MPI_Finalize; nothing may be
  // called after.
  virtual void Close() = 0;

 private:
  RankProgress progress_;
};

}  // namespace kvfold
