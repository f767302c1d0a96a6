#include "runtime/kernels/cuda/dense_linear.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold::cuda {
namespace {

uint16_t Bf16Bits(float x) {  // to nearest, ties to even
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace

std::unique_ptr<PackedLinear> PackDense(Executor& executor, DType dtype, LinearShape shape,
                                        std::byte* memory, const WeightRows& rows) {
  auto packed = std::make_unique<DenseLinear>(shape, memory);
  if (shape.n_out == 0 || shape.n_in == 0) return packed;
  const bool narrow = dtype == DType::kBF16;
  const int64_t row_bytes = shape.n_in * DTypeBytes(dtype);
  // A strip a piece of the upload ring: while it travels the next one is converted.
  constexpr int64_t kStripBytes = int64_t{8} << 20;
  const int64_t piece_bytes = std::min(kStripBytes, executor.most_upload_bytes() / 4);
  KVFOLD_CHECK(row_bytes <= executor.most_upload_bytes(), "n_in", shape.n_in);
  const int64_t strip = std::max<int64_t>(1, piece_bytes / row_bytes);
  std::vector<std::vector<float>> staging(static_cast<size_t>(executor.pool().size()));
  constexpr int64_t kRowsAtATime = 16;
  for (int64_t begin = 0; begin < shape.n_out; begin += strip) {
    const int64_t end = std::min(shape.n_out, begin + strip);
    const std::span<std::byte> room = executor.AcquireUpload((end - begin) * row_bytes);
    executor.pool().ParallelFor(CeilDiv(end - begin, kRowsAtATime), [&](int64_t item, int worker) {
      const int64_t first = begin + item * kRowsAtATime;
      const int64_t last = std::min(end, first + kRowsAtATime);
      std::byte* const to = room.data() + (first - begin) * row_bytes;
      if (!narrow) {
        rows(first, last, reinterpret_cast<float*>(to));
        return;
      }
      std::vector<float>& wide = staging[static_cast<size_t>(worker)];
      wide.resize(static_cast<size_t>(kRowsAtATime * shape.n_in));
      rows(first, last, wide.data());
      std::transform(wide.begin(), wide.begin() + (last - first) * shape.n_in,
                     reinterpret_cast<uint16_t*>(to), Bf16Bits);
    });
    executor.SubmitUpload(room, memory + begin * row_bytes, (end - begin) * row_bytes);
  }
  return packed;
}

}  // namespace kvfold::cuda
