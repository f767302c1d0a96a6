// comm/device/tensor_view.h: a borrowed row-major matrix [rows, cols] in some device's memory.
// A view owns nothing and is two words of shape beside a pointer: pass it by value. Sizes and
// strides are elements.
#pragma once

#include <cstdint>

#include "comm/device/dtype.h"
#include "comm/error.h"

namespace kvfold {

// T is std::byte or const std::byte.
template <typename Byte, typename Void>
struct BasicTensorView {
  Void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements between the starts of two rows; >= cols

  int64_t elements() const { return rows * cols; }
  bool contiguous() const { return stride == cols || rows <= 1; }
  Byte* Row(int64_t row) const {
    return static_cast<Byte*>(data) + row * stride * DTypeBytes(dtype);
  }
  // Rows [begin, end).
  BasicTensorView Rows(int64_t begin, int64_t end) const {
    KVFOLD_CHECK(0 <= begin && begin <= end && end <= rows, "begin", begin, "end", end, "rows",
                 rows);
    return {Row(begin), dtype, end - begin, cols, stride};
  }
  // Columns [begin, end); the stride stays.
  BasicTensorView Cols(int64_t begin, int64_t end) const {
    KVFOLD_CHECK(0 <= begin && begin <= end && end <= cols, "begin", begin, "end", end, "cols",
                 cols);
    return {static_cast<Byte*>(data) + begin * DTypeBytes(dtype), dtype, rows, end - begin, stride};
  }
};

using TensorView = BasicTensorView<std::byte, void>;

struct ConstTensorView : BasicTensorView<const std::byte, const void> {
  ConstTensorView() = default;
  ConstTensorView(const void* base, DType type, int64_t n_rows, int64_t n_cols, int64_t row_stride)
      : BasicTensorView<const std::byte, const void>{base, type, n_rows, n_cols, row_stride} {}
  // NOLINTNEXTLINE: views convert freely
  ConstTensorView(const BasicTensorView<const std::byte, const void>& view)
      : BasicTensorView<const std::byte, const void>(view) {}
  ConstTensorView(const TensorView& view)  // NOLINT: a writable view is readable
      : BasicTensorView<const std::byte, const void>{view.data, view.dtype, view.rows, view.cols,
                                                     view.stride} {}
};

inline TensorView F32View(float* data, int64_t rows, int64_t cols) {
  return {data, DType::kF32, rows, cols, cols};
}
inline ConstTensorView F32View(const float* data, int64_t rows, int64_t cols) {
  return {data, DType::kF32, rows, cols, cols};
}

}  // namespace kvfold
