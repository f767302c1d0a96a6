// comm/rank_order_sum.h: the one place that fixes in which order ranks are added.
#pragma once

#include <cstdint>
#include <span>

namespace kvfold {

// out[i] = ((in_0[i] + in_1[i]) + in_2[i]) + ... for i in [0, n_elements), in f32. `out` may be one
// of the inputs. Requires at least one input. An element's bits depend on that element's inputs
// alone.
void SumInRankOrder(std::span<const float* const> inputs, int64_t n_elements, float* out);

// Half-open share of n_elements that `rank` of `size` sums: shares are contiguous, in rank order,
// and start on multiples of 16 elements (a cache line), so that no two ranks write the same line.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;
};
ElementRange ShareOfElements(int64_t n_elements, int rank, int size);

}  // namespace kvfold
