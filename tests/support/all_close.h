// tests/support/all_close.h: comparators whose failures name seed, index and both values. NaN never
// passes.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <span>

namespace kvfold {

// |got - want| <= tolerance, element by element. The comparison is negated so that a NaN on either
// side fails.
inline testing::AssertionResult AllClose(std::span<const float> got, std::span<const float> want,
                                         double tolerance) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " elements vs " << want.size();
  }
  size_t worst = 0;
  double worst_error = -1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(error <= tolerance) && !(error <= worst_error)) {
      worst = i;
      worst_error = error;
      if (std::isnan(error)) break;
    }
  }
  if (worst_error != -1 || (got.size() > worst && std::isnan(got[worst] - want[worst]))) {
    return testing::AssertionFailure() << "[" << worst << "] got " << got[worst] << ", want "
                                       << want[worst] << ", tolerance " << tolerance;
  }
  return testing::AssertionSuccess();
}

// The same bits, element by element (NaN equals the same NaN).
inline testing::AssertionResult SameBits(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " elements vs " << want.size();
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0) {
      return testing::AssertionFailure()
             << "[" << i << "] got " << got[i] << ", want the same bits as " << want[i];
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace kvfold
