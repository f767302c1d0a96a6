#include "comm/collective_shapes.h"

#include <fmt/format.h>

namespace kvfold::internal {

std::string AllReduceProblem(const TensorView& view, bool bf16) {
  if (view.rows < 0 || view.cols < 0) {
    return fmt::format("the view is [{}, {}], expected no negative dim", view.rows, view.cols);
  }
  if (view.dtype != DType::kF32 && !(bf16 && view.dtype == DType::kBF16)) {
    return fmt::format("the view is {}, expected {}", DTypeName(view.dtype),
                       bf16 ? "f32 or bf16" : "f32");
  }
  if (!view.contiguous()) {
    return fmt::format("the view has {} columns at stride {}, expected a contiguous one", view.cols,
                       view.stride);
  }
  return {};
}

std::string AllGatherProblem(const ConstTensorView& in, const TensorView& out, int size) {
  if (in.rows < 0 || in.cols < 0 || out.rows < 0 || out.cols < 0) {
    return fmt::format("the views are [{}, {}] and [{}, {}], expected no negative dim", in.rows,
                       in.cols, out.rows, out.cols);
  }
  if (in.dtype != out.dtype) {
    return fmt::format("the input is {}, the output {}", DTypeName(in.dtype), DTypeName(out.dtype));
  }
  if (!in.contiguous() || !out.contiguous()) {
    return fmt::format(
        "columns and strides are {} and {} in, {} and {} out, expected contiguous views", in.cols,
        in.stride, out.cols, out.stride);
  }
  if (out.elements() / size != in.elements() || out.elements() % size != 0) {
    return fmt::format("the output has {} elements, expected {} ranks times {}", out.elements(),
                       size, in.elements());
  }
  return {};
}

std::string AllGatherBytesProblem(std::span<const std::byte> in, std::span<const std::byte> out,
                                  int size) {
  if (out.size() / size != in.size() || out.size() % size != 0) {
    return fmt::format("the output has {} bytes, expected {} ranks times {}", out.size(), size,
                       in.size());
  }
  return {};
}

std::string RootProblem(int root, int size) {
  if (root < 0 || root >= size) {
    return fmt::format("root is {}, expected 0 to {}", root, size - 1);
  }
  return {};
}

}  // namespace kvfold::internal
