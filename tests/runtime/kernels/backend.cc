#include "tests/runtime/kernels/backend.h"

#include <algorithm>
#include <cstring>

#include "comm/base/rounding.h"
#include "tests/runtime/kernels/reference.h"

namespace kvfold {
namespace {

void FillWithOnes(Backend& backend, const Buffer& buffer) {
  const std::vector<std::byte> ones(static_cast<size_t>(buffer.bytes()), std::byte{0xff});
  backend.Upload(buffer.data(), ones.data(), buffer.bytes());
}

std::vector<std::byte> BytesOf(Backend& backend, const Buffer& buffer) {
  std::vector<std::byte> bytes(static_cast<size_t>(buffer.bytes()));
  backend.Download(bytes.data(), buffer.data(), buffer.bytes());
  return bytes;
}

}  // namespace

GuardedBytes::GuardedBytes(Backend& backend, int64_t bytes)
    : backend_(backend),
      bytes_(bytes),
      buffer_(backend.device().Allocate(bytes + 2 * kGuardBytes)) {
  FillWithOnes(backend_, buffer_);
}

testing::AssertionResult GuardedBytes::GuardsIntact() const {
  const std::vector<std::byte> bytes = BytesOf(backend_, buffer_);
  for (int64_t i = 0; i < buffer_.bytes(); ++i) {
    const bool guard = i < kGuardBytes || i >= kGuardBytes + bytes_;
    if (guard && bytes[static_cast<size_t>(i)] != std::byte{0xff}) {
      return testing::AssertionFailure()
             << "byte " << i - kGuardBytes << " of " << bytes_ << " was written";
    }
  }
  return testing::AssertionSuccess();
}

Matrix::Matrix(Backend& backend, DType dtype, int64_t rows, int64_t cols, int64_t stride)
    : backend_(backend),
      dtype_(dtype),
      rows_(rows),
      cols_(cols),
      stride_(stride > 0 ? stride : cols),
      buffer_(backend.device().Allocate(RoundUp(rows, kRowPadding) * stride_ * DTypeBytes(dtype) +
                                        2 * GuardedBytes::kGuardBytes)) {
  FillWithOnes(backend_, buffer_);
}

TensorView Matrix::view() const {
  return {buffer_.data() + GuardedBytes::kGuardBytes, dtype_, rows_, cols_, stride_};
}

float* Matrix::f32() const {
  return reinterpret_cast<float*>(buffer_.data() + GuardedBytes::kGuardBytes);
}

void Matrix::Set(std::span<const float> values) {
  KVFOLD_CHECK(static_cast<int64_t>(values.size()) == rows_ * cols_, "values", values.size());
  for (int64_t row = 0; row < rows_; ++row) {
    const std::span<const float> from =
        values.subspan(static_cast<size_t>(row * cols_), static_cast<size_t>(cols_));
    if (dtype_ == DType::kF32) {
      backend_.Upload(view().Row(row), from.data(), cols_ * 4);
      continue;
    }
    std::vector<uint16_t> narrow(from.size());
    std::transform(from.begin(), from.end(), narrow.begin(), Bf16Bits);
    backend_.Upload(view().Row(row), narrow.data(), cols_ * 2);
  }
}

std::vector<float> Matrix::Get() const {
  std::vector<float> values(static_cast<size_t>(rows_ * cols_));
  for (int64_t row = 0; row < rows_; ++row) {
    float* const to = values.data() + row * cols_;
    if (dtype_ == DType::kF32) {
      backend_.Download(to, view().Row(row), cols_ * 4);
      continue;
    }
    std::vector<uint16_t> narrow(static_cast<size_t>(cols_));
    backend_.Download(narrow.data(), view().Row(row), cols_ * 2);
    std::transform(narrow.begin(), narrow.end(), to, FromBf16Bits);
  }
  return values;
}

testing::AssertionResult Matrix::OnlyWrote(int64_t rows) const {
  const std::vector<std::byte> bytes = BytesOf(backend_, buffer_);
  const int64_t element = DTypeBytes(dtype_);
  for (int64_t i = 0; i < buffer_.bytes(); ++i) {
    if (bytes[static_cast<size_t>(i)] == std::byte{0xff}) continue;
    const int64_t at = i - GuardedBytes::kGuardBytes;
    const bool may = at >= 0 && stride_ > 0 && at / (stride_ * element) < rows &&
                     at % (stride_ * element) < cols_ * element;
    if (!may) {
      return testing::AssertionFailure() << "byte " << at << " was written: row stride " << stride_
                                         << ", rows " << rows << ", cols " << cols_;
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace kvfold
