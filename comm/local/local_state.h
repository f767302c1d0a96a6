// comm/local/local_state.h: what the ranks of a local group share: a barrier that can be aborted,
// and what each rank brings to the call under way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "comm/error.h"

namespace kvfold::internal {

// The CommError of a rank whose group was aborted by another: RunLocalRanks tells it from a rank's
// own.
class LocalAbortError : public CommError {
 public:
  using CommError::CommError;
};

// What one rank brings to a call.
struct LocalCall {
  std::string_view operation;  // of static storage
  int64_t amount = 0;          // elements or bytes; the same on every rank
  int root = 0;                // of a broadcast; the same on every rank
  const void* in = nullptr;    // read by all ranks between Meet and Leave
  void* out = nullptr;         // written by all ranks between Meet and Leave
  std::string problem{};       // if not empty: how this rank's views do not fit the call
};

// A call is Meet, the work, Leave: Meet returns when every rank has brought its part, Leave when
// every rank has done its work.
class LocalState {
 public:
  explicit LocalState(int size) : calls_(size), left_(size, false) {}

  int size() const { return static_cast<int>(calls_.size()); }

  // Throws on every rank: ShapeError if one rank names a problem or amounts or roots differ,
  // CommError if operations differ, the group was aborted, or a rank has left.
  void Meet(int rank, LocalCall call);
  void Leave(int rank);
  // Valid between Meet and Leave.
  const LocalCall& call(int rank) const { return calls_[rank]; }

  void Abort(const std::string& reason);
  void MarkLeft(int rank);  // no further call of this rank; twice is legal

 private:
  void AwaitAll(int rank);
  void CheckAgreement() const;
  int FirstLeft() const;  // -1 if none. Requires mutex_ held

  std::mutex mutex_;
  std::condition_variable changed_;
  int n_arrived_ = 0;
  uint64_t generation_ = 0;
  bool aborted_ = false;
  std::string abort_reason_;
  std::vector<LocalCall> calls_;  // [rank]; each written by its rank before it arrives
  std::vector<bool> left_;
};

}  // namespace kvfold::internal
