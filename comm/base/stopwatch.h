// comm/base/stopwatch.h: the seconds that something takes, by a clock that is never set.
#pragma once

#include <chrono>

namespace kvfold {

// Runs from its construction on.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace kvfold
