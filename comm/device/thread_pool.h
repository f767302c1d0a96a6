// comm/device/thread_pool.h: the threads of one CPU rank. The caller is worker 0; size() - 1 further threads wait for work.
// One ParallelFor at a time, from one calling thread. Workers never call MPI.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace kvfold {

class ThreadPool {
 public:
  // Requires n_threads >= 1.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(item, worker) once for every item in [0, n_items), items handed out one by one in rising order, worker in
  // [0, size()). Returns when all are done. The first exception of a body is rethrown here after all workers have stopped.
  template <typename Body>
  void ParallelFor(int64_t n_items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    Run(n_items,
        [](void* context, int64_t item, int worker) { (*static_cast<Plain*>(context))(item, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, int64_t item, int worker);
  void Run(int64_t n_items, Function function, void* context);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvfold
