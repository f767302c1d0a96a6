// comm/base/rounding.h: whole units of integers, and the unit that memory is handed out in.
//
// Not for runtime/kernels/cpu/simd/: a function of those files must be in an anonymous namespace
// (simd/vec.h).
#pragma once

#include <cstdint>

namespace kvfold {

// Of every piece of an allocation: a cache line, and the widest vector load.
inline constexpr int64_t kAlignmentBytes = 64;

// a / b, rounded up. Requires: a >= 0, b > 0, and a + b - 1 is a T.
template <typename T>
constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

// The smallest multiple of `unit` that is at least `value`. Requires: as CeilDiv.
template <typename T>
constexpr T RoundUp(T value, T unit) {
  return CeilDiv(value, unit) * unit;
}

}  // namespace kvfold
