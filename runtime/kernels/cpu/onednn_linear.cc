#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "comm/base/rounding.h"
#include "runtime/kernels/cpu/cpu_linear.h"
#include "runtime/kernels/cpu/onednn.h"

namespace kvfold::cpu {
namespace {

// Columns of a slice: narrow enough that a product spreads over threads and that a slice staged as
// f32 stays within a few MiB, wide enough for full speed.
constexpr int64_t kWidestSlice = 192;
int64_t SliceCols(const LinearShape& shape) { return shape.n_in <= 8192 ? kWidestSlice : 64; }
constexpr int64_t kTileRows = 128;

// Row counts that products are made for; others are padded up to the next. Not 1: oneDNN 3 sums a
// lone row of a wide input in another order.
constexpr std::array<int64_t, 8> kRowCounts = {2, 4, 8, 16, 32, 64, 96, 128};
static_assert(kTileRows % kRowPadding == 0);

int64_t PaddedRows(int64_t rows) {
  for (const int64_t count : kRowCounts) {
    if (rows <= count) return count;
  }
  return kTileRows;
}

struct Slice {
  int64_t col_begin = 0;
  int64_t n_cols = 0;
  std::byte* packed = nullptr;
};

class OneDnnPacked : public PackedLinear {
 public:
  OneDnnPacked(LinearShape shape, std::vector<Slice> slices)
      : shape_(shape), slices_(std::move(slices)) {}
  LinearShape shape() const override { return shape_; }
  const std::vector<Slice>& slices() const { return slices_; }

 private:
  LinearShape shape_;
  std::vector<Slice> slices_;
};

class OneDnnLinear : public Linear {
 public:
  OneDnnLinear(ThreadPool& pool, const KernelTable& table)
      : pool_(pool), table_(table), matmuls_(DType::kBF16, pool.size()) {
    dense_.resize(static_cast<size_t>(pool.size()));
    for (Dense& dense : dense_) dense.y.resize(kTileRows * kWidestSlice / kLineFloats);
  }

  int64_t PackedBytes(LinearShape shape) override {
    int64_t bytes = 0;
    for (const Slice& slice : SlicesOf(shape)) bytes += SliceBytes(slice.n_cols, shape.n_in);
    return bytes;
  }

  std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                     const WeightRows& rows) override {
    std::vector<Slice> slices = SlicesOf(shape);
    for (Slice& slice : slices) {
      slice.packed = memory;
      memory += SliceBytes(slice.n_cols, shape.n_in);
    }
    struct Staging {
      std::vector<float> wide;
      std::vector<uint16_t> narrow;
    };
    std::vector<Staging> staging(static_cast<size_t>(pool_.size()));
    pool_.ParallelFor(static_cast<int64_t>(slices.size()), [&](int64_t i, int worker) {
      const Slice& slice = slices[static_cast<size_t>(i)];
      Staging& stage = staging[static_cast<size_t>(worker)];
      const auto elements = static_cast<size_t>(slice.n_cols * shape.n_in);
      stage.wide.resize(elements);
      rows(slice.col_begin, slice.col_begin + slice.n_cols, stage.wide.data());
      stage.narrow.resize(elements);
      table_.to_bf16(stage.wide.data(), static_cast<int64_t>(elements), stage.narrow.data());
      matmuls_.Pack(slice.n_cols, shape.n_in, stage.narrow.data(), slice.packed);
    });
    return std::make_unique<OneDnnPacked>(shape, std::move(slices));
  }

  void Run(ConstTensorView x, const PackedLinear& weight, const float* bias,
           TensorView y) override {
    const auto& packed = dynamic_cast<const OneDnnPacked&>(weight);
    const LinearShape shape = packed.shape();
    const std::vector<Slice>& slices = packed.slices();
    const int64_t tiles = CeilDiv(x.rows, kTileRows);
    const auto product = [&](int64_t n_cols, int64_t m) -> onednn::Matmul& {
      return matmuls_.Get({n_cols, shape.n_in, m, shape.n_in});
    };
    // At most two widths of slices and two heights of tiles: all made before the threads start.
    const int64_t last_rows = PaddedRows(x.rows - (tiles - 1) * kTileRows);
    const int64_t full_rows = tiles > 1 ? kTileRows : last_rows;
    const int64_t wide = slices.front().n_cols;
    const int64_t narrow = slices.back().n_cols;
    onednn::Matmul* const products[2][2] = {
        {&product(wide, full_rows), &product(wide, last_rows)},
        {&product(narrow, full_rows), &product(narrow, last_rows)}};
    pool_.ParallelFor(tiles * static_cast<int64_t>(slices.size()), [&](int64_t item, int worker) {
      const Slice& slice = slices[static_cast<size_t>(item / tiles)];
      const int64_t tile = item % tiles;
      const int64_t row = tile * kTileRows;
      const int64_t rows = std::min(kTileRows, x.rows - row);
      Dense& dense = dense_[static_cast<size_t>(worker)];
      const void* const x_rows =
          x.stride == shape.n_in ? x.Row(row) : DenseRows(x.Rows(row, row + rows), dense);
      float* const y_rows = dense.y.front().floats;
      onednn::Matmul& matmul = *products[slice.n_cols == wide ? 0 : 1][tile + 1 == tiles ? 1 : 0];
      matmul.Run(worker, x_rows, slice.packed, y_rows);
      for (int64_t i = 0; i < rows; ++i) {
        const float* const from = y_rows + i * slice.n_cols;
        float* const to = reinterpret_cast<float*>(y.Row(row + i)) + slice.col_begin;
        if (bias == nullptr) {
          std::memcpy(to, from, static_cast<size_t>(slice.n_cols) * sizeof(float));
          continue;
        }
        for (int64_t j = 0; j < slice.n_cols; ++j) to[j] = from[j] + bias[slice.col_begin + j];
      }
    });
  }

 private:
  // One worker's rows without gaps. Where rows lie apart, oneDNN 2 falls back to its reference
  // code, which is slow and sums in another order; a product of one row found in its cache of
  // primitives may then even be that of another stride.
  static constexpr int64_t kLineFloats = 16;
  struct alignas(64) Line {
    float floats[kLineFloats];
  };
  struct Dense {
    std::vector<Line> y;  // [kTileRows][n_cols of the slice]
    std::vector<Line> x;  // [kTileRows][n_in], where a caller's rows lie apart
  };
  static const void* DenseRows(const ConstTensorView& rows, Dense& dense) {
    const auto row_bytes = static_cast<size_t>(rows.cols * DTypeBytes(rows.dtype));
    const size_t lines = (kTileRows * row_bytes + sizeof(Line) - 1) / sizeof(Line);
    if (dense.x.size() < lines) dense.x.resize(lines);
    auto* const to = reinterpret_cast<std::byte*>(dense.x.data());
    for (int64_t i = 0; i < rows.rows; ++i) {
      std::memcpy(to + static_cast<size_t>(i) * row_bytes, rows.Row(i), row_bytes);
    }
    return to;
  }

  std::vector<Slice> SlicesOf(LinearShape shape) const {
    std::vector<Slice> slices;
    const int64_t width = SliceCols(shape);
    for (int64_t begin = 0; begin < shape.n_out; begin += width) {
      slices.push_back({begin, std::min(width, shape.n_out - begin), nullptr});
    }
    return slices;
  }
  int64_t SliceBytes(int64_t n_cols, int64_t n_in) {
    return RoundUp(matmuls_.PackedBytes(n_cols, n_in), kAlignmentBytes);
  }

  ThreadPool& pool_;
  const KernelTable& table_;
  onednn::MatmulCache matmuls_;
  std::vector<Dense> dense_;  // by worker
};

}  // namespace

std::unique_ptr<Linear> MakeOneDnnLinear(ThreadPool& pool, const KernelTable& table) {
  return std::make_unique<OneDnnLinear>(pool, table);
}

}  // namespace kvfold::cpu
