// comm/gather_values.h: what one host of a group knows, told to all of them.
#pragma once

#include <span>
#include <type_traits>
#include <vector>

#include "comm/communicator.h"

namespace kvfold {

// Every rank's value, in rank order, on every rank: a collective (comm/communicator.h). Padding of
// a Value travels along. Throws CommError.
template <typename Value>
std::vector<Value> GatherValues(Communicator& communicator, const Value& mine) {
  static_assert(std::is_trivially_copyable_v<Value>);
  std::vector<Value> all(static_cast<size_t>(communicator.size()));
  communicator.AllGatherBytes(std::as_bytes(std::span(&mine, 1)),
                              std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace kvfold
