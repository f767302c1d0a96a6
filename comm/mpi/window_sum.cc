#include "comm/mpi/window_sum.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "comm/device/host_limits.h"
#include "comm/device/spin.h"
#include "comm/error.h"
#include "comm/mpi/mpi_check.h"
#include "comm/rank_order_sum.h"

namespace kvfold::internal {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Both measured with tests/comm/all_reduce_bench.cc: a piece and its neighbours stay in the second
// cache; below the other size one more arrival costs more than adding all shares oneself.
constexpr int64_t kPieceElements = int64_t{1} << 16;
constexpr int64_t kGatheredElements = 2048;

// Shorter than a turn of the scheduler: where two ranks share a core, the one that waits must leave
// it.
constexpr microseconds kSpinBudget{1};
constexpr milliseconds kYieldBudget{2};
constexpr microseconds kNap{50};  // lost at most, in a wait of at least kYieldBudget
constexpr int64_t kLooksPerProbe = 8;

constexpr int64_t kInputBytes = kPieceElements * int64_t{sizeof(float)};

}  // namespace

// Ranks are processes: only an atomic without a hidden lock works between them.
static_assert(std::atomic<uint64_t>::is_always_lock_free);

WindowSum::WindowSum(MPI_Comm communicator, int rank, int size)
    : communicator_(communicator),
      rank_(rank),
      size_(size),
      // With more ranks than processors a rank that spins keeps the one that it waits for from
      // running.
      spin_budget_(size > HostCores() ? microseconds{0} : kSpinBudget),
      memory_(communicator, rank, size, sizeof(Head) + 2 * kInputBytes),
      heads_(size),
      inputs_(size) {
  // Pages of zeros are heads already: of no arrivals.
  for (int r = 0; r < size; ++r) heads_[r] = reinterpret_cast<Head*>(memory_.part(r));
}

void WindowSum::Run(float* view, int64_t n_elements) {
  for (int64_t begin = 0; begin < n_elements; begin += kPieceElements) {
    const int64_t n = std::min(kPieceElements, n_elements - begin);
    ++turn_;
    heads_[rank_]->n_elements[turn_ % 2] = n_elements;
    // Ranks that disagree in size may disagree in how to sum as well, but all arrive once and see
    // it.
    if (n_elements <= kGatheredElements) {
      std::memcpy(Input(rank_), view + begin, n * sizeof(float));
      Arrive();
      CheckSizes(n_elements);
      RunGathered(view + begin, n);
    } else {
      const ElementRange own = ShareOfElements(n, rank_, size_);
      float* const input = Input(rank_);  // nobody else reads this rank's own share
      std::memcpy(input, view + begin, own.begin * sizeof(float));
      std::memcpy(input + own.end, view + begin + own.end, (n - own.end) * sizeof(float));
      Arrive();
      CheckSizes(n_elements);
      RunShared(view + begin, n);
    }
  }
}

void WindowSum::RunGathered(float* view, int64_t n_elements) {
  for (int rank = 0; rank < size_; ++rank) inputs_[rank] = Input(rank);
  SumInRankOrder(inputs_, n_elements, view);
}

void WindowSum::RunShared(float* view, int64_t n_elements) {
  const ElementRange own = ShareOfElements(n_elements, rank_, size_);
  for (int rank = 0; rank < size_; ++rank) inputs_[rank] = Input(rank) + own.begin;
  inputs_[rank_] = view + own.begin;
  float* const sum = Input(rank_) + own.begin;
  SumInRankOrder(inputs_, own.end - own.begin, sum);
  Arrive();
  for (int rank = 0; rank < size_; ++rank) {
    const ElementRange share = ShareOfElements(n_elements, rank, size_);
    std::memcpy(view + share.begin, Input(rank) + share.begin,
                (share.end - share.begin) * sizeof(float));
  }
}

float* WindowSum::Input(int rank) const {
  std::byte* const first = reinterpret_cast<std::byte*>(heads_[rank] + 1);
  return reinterpret_cast<float*>(first + (turn_ % 2) * kInputBytes);
}

bool WindowSum::AllArrived() const {
  // Ahead of this rank by one arrival at most, so >= is enough and never wraps in practice.
  return std::all_of(heads_.begin(), heads_.end(), [&](const Head* head) {
    return head->n_arrivals.load(std::memory_order_acquire) >= n_arrivals_;
  });
}

void WindowSum::Arrive() {
  heads_[rank_]->n_arrivals.store(++n_arrivals_, std::memory_order_release);
  if (SpinUntil([&] { return AllArrived(); }, spin_budget_)) return;
  const auto nap_from = std::chrono::steady_clock::now() + kYieldBudget;
  for (int64_t n_looks = 1; !AllArrived(); ++n_looks) {
    if (std::chrono::steady_clock::now() < nap_from) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(kNap);
    }
    // A rank that is late may wait for bytes which this rank's MPI has queued but not yet sent; MPI
    // moves only while it is called. Not at every look, since MPI may yield the core once more.
    if (n_looks % kLooksPerProbe == 0) {
      int found = 0;
      CheckMpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, communicator_, &found, MPI_STATUS_IGNORE),
               "all-reduce (MPI_Iprobe)", rank_);
    }
  }
}

void WindowSum::CheckSizes(int64_t n_elements) const {
  for (int rank = 0; rank < size_; ++rank) {
    const int64_t theirs = heads_[rank]->n_elements[turn_ % 2];
    const int64_t of_first = heads_[0]->n_elements[turn_ % 2];
    if (theirs != of_first) {
      throw ShapeError(fmt::format("all-reduce: rank {} brings {} elements, rank 0 brings {}", rank,
                                   theirs, of_first));
    }
  }
  KVFOLD_CHECK(heads_[rank_]->n_elements[turn_ % 2] == n_elements, "n_elements", n_elements);
}

}  // namespace kvfold::internal
