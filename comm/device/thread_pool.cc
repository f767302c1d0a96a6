#include "comm/device/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "comm/device/host_limits.h"
#include "comm/device/spin.h"
#include "comm/error.h"

namespace kvfold {
namespace {

using std::chrono::microseconds;

constexpr microseconds kDefaultSpinBudget{100};

// The gate that workers pass: epoch of the job in the upper half, whether the job still takes
// workers, and how many are inside. One word, so that entering and closing cannot cross.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInsideMask = kOpen - 1;
constexpr int kEpochShift = 32;
constexpr uint64_t kStopEpoch = 0;  // of no job; tells workers to return

uint64_t Epoch(uint64_t gate) { return gate >> kEpochShift; }

}  // namespace

struct ThreadPool::State {
  int n_threads = 1;
  microseconds spin_budget{0};

  // The job. Written only while the gate is closed and nobody is inside.
  Function function = nullptr;
  void* context = nullptr;
  int64_t n_items = 0;

  alignas(64) std::atomic<uint64_t> gate{uint64_t{1} << kEpochShift};
  alignas(64) std::atomic<int64_t> next_item{0};
  alignas(64) std::atomic<int> wake{0};  // workers sleep on it
  std::atomic<int> n_asleep{0};
  alignas(64) std::atomic<int> done{0};  // the caller sleeps on it
  std::atomic<bool> caller_asleep{false};

  std::atomic<bool> failed{false};
  std::exception_ptr exception;  // written by whoever set `failed`

  std::vector<std::thread> threads;

  void TakeItems(int worker) {
    try {
      for (int64_t item = next_item.fetch_add(1, std::memory_order_relaxed); item < n_items;
           item = next_item.fetch_add(1, std::memory_order_relaxed)) {
        function(context, item, worker);
      }
    } catch (...) {
      if (!failed.exchange(true)) exception = std::current_exception();
      next_item.store(n_items, std::memory_order_relaxed);  // hands out no more
    }
  }

  // Waits until the gate shows another epoch than `seen` or the call to stop; returns the gate.
  uint64_t AwaitJob(uint64_t seen) {
    uint64_t now = gate.load(std::memory_order_acquire);
    const auto is_new = [&] {
      now = gate.load(std::memory_order_seq_cst);
      return Epoch(now) != seen;
    };
    if (SpinUntil(is_new, spin_budget)) return now;
    for (;;) {
      // The order matters: either the caller sees n_asleep and raises `wake` after `ticket` was
      // read, or this thread sees the caller's new epoch. Both sides are sequentially consistent.
      const int ticket = wake.load();
      n_asleep.fetch_add(1);
      const bool found = is_new();
      if (!found) wake.wait(ticket);
      n_asleep.fetch_sub(1);
      if (found || is_new()) return now;
    }
  }

  void Work(int worker) {
    uint64_t seen = 1;
    for (;;) {
      uint64_t now = AwaitJob(seen);
      seen = Epoch(now);
      if (seen == kStopEpoch) return;
      bool entered = false;
      while (!entered && Epoch(now) == seen && (now & kOpen) != 0) {
        entered = gate.compare_exchange_weak(now, now + 1);
      }
      if (!entered) continue;  // too late for this job
      TakeItems(worker);
      const uint64_t left = gate.fetch_sub(1) - 1;
      if ((left & (kOpen | kInsideMask)) == 0 && caller_asleep.load()) {
        done.fetch_add(1);
        done.notify_one();
      }
    }
  }

  // Closes the gate and waits for those inside.
  void Finish() {
    gate.fetch_and(~kOpen);
    const auto is_empty = [&] { return (gate.load() & kInsideMask) == 0; };
    if (SpinUntil(is_empty, spin_budget)) return;
    caller_asleep.store(true);
    for (;;) {
      const int ticket = done.load();
      if (is_empty()) break;
      done.wait(ticket);
    }
    caller_asleep.store(false);
  }

  void WakeWorkers(int64_t n_wanted) {
    const int64_t n = std::min<int64_t>(n_wanted, n_asleep.load());
    if (n <= 0) return;
    wake.fetch_add(1);
    if (n >= n_threads - 1) {
      wake.notify_all();
    } else {
      for (int64_t i = 0; i < n; ++i) wake.notify_one();
    }
  }

  void Stop() {
    gate.store(kStopEpoch << kEpochShift);
    wake.fetch_add(1);
    wake.notify_all();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
};

ThreadPool::ThreadPool(int n_threads, std::optional<microseconds> spin_budget)
    : state_(std::make_unique<State>()) {
  KVFOLD_CHECK(n_threads >= 1, "n_threads", n_threads);
  State& state = *state_;
  state.n_threads = n_threads;
  state.spin_budget =
      spin_budget.value_or(n_threads > AvailableCores() ? microseconds{0} : kDefaultSpinBudget);
  state.threads.reserve(n_threads - 1);
  for (int worker = 1; worker < n_threads; ++worker) {
    try {
      state.threads.emplace_back([&state, worker] { state.Work(worker); });
    } catch (const std::system_error& error) {
      state.Stop();
      throw CapacityError(fmt::format("the system refused thread {} of the {} asked for: {}",
                                      worker + 1, n_threads, error.what()));
    }
  }
}

ThreadPool::~ThreadPool() { state_->Stop(); }

int ThreadPool::size() const { return state_->n_threads; }

microseconds ThreadPool::spin_budget() const { return state_->spin_budget; }

void ThreadPool::Run(int64_t n_items, Function function, void* context) {
  State& state = *state_;
  KVFOLD_CHECK(n_items >= 0, "n_items", n_items);
  if (n_items <= 1 || state.n_threads == 1) {
    for (int64_t item = 0; item < n_items; ++item) function(context, item, 0);
    return;
  }
  const uint64_t before = state.gate.load();
  KVFOLD_CHECK((before & (kOpen | kInsideMask)) == 0, "gate", before);  // no ParallelFor in another
  state.function = function;
  state.context = context;
  state.n_items = n_items;
  state.next_item.store(0, std::memory_order_relaxed);
  const uint64_t epoch = Epoch(before) == UINT32_MAX ? 1 : Epoch(before) + 1;
  state.gate.store((epoch << kEpochShift) | kOpen);
  state.WakeWorkers(n_items - 1);
  state.TakeItems(0);
  state.Finish();
  if (state.failed.load(std::memory_order_relaxed)) {
    state.failed.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(state.exception, nullptr));
  }
}

}  // namespace kvfold
