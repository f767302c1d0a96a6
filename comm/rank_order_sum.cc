#include "comm/rank_order_sum.h"

#include <algorithm>
#include <cstring>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold {

void SumInRankOrder(std::span<const float* const> inputs, int64_t n_elements, float* out) {
  KVFOLD_CHECK(!inputs.empty(), "inputs", inputs.size());
  // Tile by tile, so that the running sum stays in the first cache while the ranks pass by, and
  // `out` is written once, after all inputs of the tile were read.
  constexpr int64_t kTileElements = 1024;
  float sum[kTileElements];
  for (int64_t begin = 0; begin < n_elements; begin += kTileElements) {
    const int64_t n = std::min(kTileElements, n_elements - begin);
    std::memcpy(sum, inputs[0] + begin, n * sizeof(float));
    for (const float* const input : inputs.subspan(1)) {
      for (int64_t i = 0; i < n; ++i) sum[i] += input[begin + i];
    }
    std::memcpy(out + begin, sum, n * sizeof(float));
  }
}

ElementRange ShareOfElements(int64_t n_elements, int rank, int size) {
  constexpr int64_t kLineElements = 16;
  const int64_t n_lines = CeilDiv(n_elements, kLineElements);
  const int64_t share_lines = n_lines / size;
  const int64_t n_longer = n_lines % size;  // the first ranks take one line more
  const auto start = [&](int64_t r) {
    return std::min(n_elements, kLineElements * (r * share_lines + std::min(r, n_longer)));
  };
  return {start(rank), start(rank + 1)};
}

}  // namespace kvfold
