// comm/device/spin.h: waiting without leaving the core, for waits of microseconds.
#pragma once

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvfold {

inline void SpinPause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Looks at `condition` until it holds (true) or `budget` has passed (false); at least once.
template <typename Condition>
bool SpinUntil(Condition&& condition, std::chrono::nanoseconds budget) {
  constexpr int kLooksPerClock = 32;  // reading the clock costs as much as a few looks
  if (condition()) return true;
  if (budget.count() <= 0) return false;
  const auto deadline = std::chrono::steady_clock::now() + budget;
  do {
    for (int i = 0; i < kLooksPerClock; ++i) {
      SpinPause();
      if (condition()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace kvfold
