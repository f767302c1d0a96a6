// comm/collective_shapes.h: what must hold of the views that one rank hands to a collective, for
// every transport. Each returns an empty string, or a clause that names what was found and
// expected.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "comm/device/tensor_view.h"

namespace kvfold::internal {

// bf16: whether the transport sums such views too.
std::string AllReduceProblem(const TensorView& view, bool bf16 = false);
std::string AllGatherProblem(const ConstTensorView& in, const TensorView& out, int size);
std::string AllGatherBytesProblem(std::span<const std::byte> in, std::span<const std::byte> out,
                                  int size);
std::string RootProblem(int root, int size);

}  // namespace kvfold::internal
