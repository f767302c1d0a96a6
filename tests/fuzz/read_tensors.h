// tests/fuzz/read_tensors.h: every tensor of a checkpoint, read whole and in part.
#pragma once

#include <algorithm>
#include <vector>

#include "models/checkpoint/checkpoint.h"

namespace kvfold::fuzz {

inline void ReadTensors(const Checkpoint& checkpoint) {
  checkpoint.Fingerprint();
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    // The inputs are small, and no stored element takes less than an eighth of a byte.
    std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
    checkpoint.ReadBlock(tensor, 0, tensor.rows, 0, tensor.cols, values.data());
    checkpoint.ReadBlock(tensor, tensor.rows / 2, tensor.rows, tensor.cols / 3,
                         std::max(tensor.cols / 3, tensor.cols - 1), values.data());
    checkpoint.Expect(tensor.name, tensor.rows, tensor.cols);
  }
  checkpoint.DropResidentPages();
}

}  // namespace kvfold::fuzz
