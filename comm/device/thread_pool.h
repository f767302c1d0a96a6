// comm/device/thread_pool.h: the threads of one CPU rank. The caller is worker 0; size() - 1
// further threads wait for work. One ParallelFor at a time, from one calling thread; a body may not
// call ParallelFor of its own pool with more than one item. Workers never call MPI.
//
// After its last work a worker spins for the spin budget, so that the next ParallelFor of the same
// step starts within a microsecond or two, then sleeps. No ParallelFor waits for a worker that has
// not yet woken: the items go to whoever is there, if need be to the caller alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

namespace kvfold {

class ThreadPool {
 public:
  // Requires n_threads >= 1. Without a spin budget: 100 us, or 0 where this process has fewer cores
  // (host_limits.h) than the pool has threads, since a thread that spins then keeps another
  // from its work. Several ranks on one host cannot know of each other here: whoever does passes 0
  // when all their threads together are more than the cores. Throws CapacityError where the system
  // refuses a thread.
  explicit ThreadPool(int n_threads,
                      std::optional<std::chrono::microseconds> spin_budget = std::nullopt);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  std::chrono::microseconds spin_budget() const;

  // Calls body(item, worker) once for every item in [0, n_items), items handed out one by one in
  // rising order, worker in [0, size()). Returns when all are done. The first exception of a body
  // is rethrown here after all workers have stopped; items not yet handed out are then skipped. No
  // items, one item or a pool of one run in the calling thread, without any synchronisation.
  template <typename Body>
  void ParallelFor(int64_t n_items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    Run(
        n_items,
        [](void* context, int64_t item, int worker) {
          (*static_cast<Plain*>(context))(item, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, int64_t item, int worker);
  void Run(int64_t n_items, Function function, void* context);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvfold
