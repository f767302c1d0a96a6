#include "comm/local/local_state.h"

#include <algorithm>
#include <utility>

namespace kvfold::internal {

void LocalState::Meet(int rank, LocalCall call) {
  calls_[rank] = std::move(call);
  AwaitAll(rank);
  try {
    CheckAgreement();
  } catch (const Error&) {
    AwaitAll(
        rank);  // a rank that went on would write its next call while others still read this one
    throw;
  }
}

void LocalState::Leave(int rank) { AwaitAll(rank); }

void LocalState::Abort(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!aborted_) abort_reason_ = reason;
  aborted_ = true;
  changed_.notify_all();
}

void LocalState::MarkLeft(int rank) {
  const std::lock_guard lock(mutex_);
  left_[rank] = true;
  changed_.notify_all();
}

int LocalState::FirstLeft() const {
  const auto left = std::find(left_.begin(), left_.end(), true);
  return left == left_.end() ? -1 : static_cast<int>(left - left_.begin());
}

void LocalState::AwaitAll(int rank) {
  std::unique_lock lock(mutex_);
  const std::string_view operation = calls_[rank].operation;
  KVFOLD_CHECK(!left_[rank], "rank", rank, "operation", operation);
  const uint64_t generation = generation_;
  if (!aborted_ && ++n_arrived_ == size()) {
    n_arrived_ = 0;
    ++generation_;
    changed_.notify_all();
    return;
  }
  changed_.wait(lock, [&] { return generation_ != generation || aborted_ || FirstLeft() >= 0; });
  // Whoever was released by all others' arrival has its result, whatever came after it.
  if (generation_ != generation) return;
  if (aborted_) {
    throw LocalAbortError(
        fmt::format("{} on rank {}: the group was aborted: {}", operation, rank, abort_reason_));
  }
  const int left = FirstLeft();
  --n_arrived_;
  throw CommError(fmt::format("{} on rank {}: rank {} has left the group", operation, rank, left));
}

void LocalState::CheckAgreement() const {
  // Every rank reads the same calls, so every rank comes to the same end.
  const LocalCall& first = calls_[0];
  for (int rank = 1; rank < size(); ++rank) {
    if (calls_[rank].operation != first.operation) {
      throw CommError(fmt::format("rank {} called {} while rank 0 called {}", rank,
                                  calls_[rank].operation, first.operation));
    }
  }
  for (int rank = 0; rank < size(); ++rank) {
    const LocalCall& call = calls_[rank];
    if (!call.problem.empty()) {
      throw ShapeError(fmt::format("{} on rank {}: {}", call.operation, rank, call.problem));
    }
    if (call.amount != first.amount) {
      throw ShapeError(fmt::format("{}: rank {} brings {}, rank 0 brings {}", call.operation, rank,
                                   call.amount, first.amount));
    }
    if (call.root != first.root) {
      throw ShapeError(fmt::format("{}: rank {} names root {}, rank 0 names root {}",
                                   call.operation, rank, call.root, first.root));
    }
  }
}

}  // namespace kvfold::internal
