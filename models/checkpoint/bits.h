// models/checkpoint/bits.h: single bits and half bytes of packed numbers, in forms that the
// compiler vectorises.
#pragma once

#include <array>
#include <cstdint>

namespace kvfold::internal {

// kBit[i] has bit i alone. A test against it is vectorised, a shift by i is not (before AVX2).
inline constexpr auto kBit = [] {
  std::array<uint32_t, 32> bits{};
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = 1u << i;
  return bits;
}();

}  // namespace kvfold::internal
