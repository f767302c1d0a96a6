// comm/base/median.h: what most measurements agree on, whatever the odd ones say.
#pragma once

#include <algorithm>
#include <vector>

namespace kvfold {

// One of the values, of which about half are smaller; of an even number of them the larger of the
// middle two. Requires: at least one value, no NaN.
inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace kvfold
