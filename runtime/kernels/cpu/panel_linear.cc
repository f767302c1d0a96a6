#include <algorithm>
#include <cstring>
#include <vector>

#include "comm/base/rounding.h"
#include "runtime/kernels/cpu/cpu_linear.h"

namespace kvfold::cpu {
namespace {

// Packed: [ceil(n_out / cols)][ceil(n_in / pairs)][cols][pairs], the last panel and the last pair
// filled up with zeros.
class PanelPacked : public PackedLinear {
 public:
  PanelPacked(LinearShape shape, const std::byte* panels, int64_t panel_bytes)
      : shape_(shape), panels_(panels), panel_bytes_(panel_bytes) {}
  LinearShape shape() const override { return shape_; }
  const std::byte* Panel(int64_t i) const { return panels_ + i * panel_bytes_; }

 private:
  LinearShape shape_;
  const std::byte* panels_;
  int64_t panel_bytes_;
};

class PanelLinear : public Linear {
 public:
  PanelLinear(ThreadPool& pool, const KernelTable& table, DType dtype)
      : pool_(pool),
        table_(table),
        dtype_(dtype),
        gemm_(dtype == DType::kBF16 ? table.gemm_panel_bf16 : table.gemm_panel_f32),
        cols_(table.panel_cols),
        pairs_(dtype == DType::kBF16 ? 2 : 1) {
    KVFOLD_CHECK(gemm_ != nullptr, "dtype", DTypeName(dtype));
  }

  int64_t PackedBytes(LinearShape shape) override { return Panels(shape) * PanelBytes(shape); }

  std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                     const WeightRows& rows) override {
    struct Staging {
      std::vector<float> wide;
      std::vector<uint16_t> narrow;
    };
    std::vector<Staging> staging(static_cast<size_t>(pool_.size()));
    pool_.ParallelFor(Panels(shape), [&](int64_t panel, int worker) {
      Staging& stage = staging[static_cast<size_t>(worker)];
      const int64_t begin = panel * cols_;
      const int64_t n = std::min(cols_, shape.n_out - begin);
      const auto elements = static_cast<size_t>(n * shape.n_in);
      stage.wide.resize(elements);
      rows(begin, begin + n, stage.wide.data());
      std::byte* const to = memory + panel * PanelBytes(shape);
      if (n < cols_ || shape.n_in % pairs_ != 0) {
        std::memset(to, 0, static_cast<size_t>(PanelBytes(shape)));
      }
      if (dtype_ == DType::kBF16) {
        stage.narrow.resize(elements);
        table_.to_bf16(stage.wide.data(), static_cast<int64_t>(elements), stage.narrow.data());
        Interleave<2>(stage.narrow.data(), n, shape.n_in, reinterpret_cast<uint16_t*>(to));
      } else {
        Interleave<1>(stage.wide.data(), n, shape.n_in, reinterpret_cast<float*>(to));
      }
    });
    return std::make_unique<PanelPacked>(shape, memory, PanelBytes(shape));
  }

  void Run(ConstTensorView x, const PackedLinear& weight, const float* bias,
           TensorView y) override {
    const auto& packed = dynamic_cast<const PanelPacked&>(weight);
    const LinearShape shape = packed.shape();
    const int64_t tiles = CeilDiv(x.rows, kTileRows);
    const int64_t panels = Panels(shape);
    pool_.ParallelFor(tiles * panels, [&](int64_t item, int) {
      const int64_t panel = item / tiles;
      const int64_t row = item % tiles * kTileRows;
      const int64_t col = panel * cols_;
      GemmPanelArgs args;
      args.a = x.Row(row);
      args.lda = x.stride;
      args.panel = packed.Panel(panel);
      args.m = std::min(kTileRows, x.rows - row);
      args.k = shape.n_in;
      args.bias = bias != nullptr ? bias + col : nullptr;
      args.n_valid = std::min(cols_, shape.n_out - col);
      args.out = reinterpret_cast<float*>(y.Row(row)) + col;
      args.ldo = y.stride;
      // What this thread takes next, if all go at one speed.
      const int64_t next_panel = (item + pool_.size()) / tiles;
      if (args.m >= kFetchRows && next_panel > panel && next_panel < panels) {
        args.next = packed.Panel(next_panel);
        args.next_bytes = PanelBytes(shape);
      }
      gemm_(args);
    });
  }

 private:
  static constexpr int64_t kTileRows = 128;
  // With fewer rows a product waits for its own panel, not for the next one.
  static constexpr int64_t kFetchRows = 32;

  int64_t Panels(LinearShape shape) const { return CeilDiv(shape.n_out, cols_); }
  int64_t PanelBytes(LinearShape shape) const {
    return RoundUp(shape.n_in, pairs_) * cols_ * DTypeBytes(dtype_);
  }
  // from [n][k] to [k / kPairs][cols_][kPairs].
  template <int64_t kPairs, typename Element>
  void Interleave(const Element* from, int64_t n, int64_t k, Element* to) const {
    for (int64_t i = 0; i < k; ++i) {
      Element* const step = to + i / kPairs * cols_ * kPairs + i % kPairs;
      for (int64_t col = 0; col < n; ++col) step[col * kPairs] = from[col * k + i];
    }
  }

  ThreadPool& pool_;
  const KernelTable& table_;
  DType dtype_;
  void (*gemm_)(const GemmPanelArgs&);
  int64_t cols_;
  int64_t pairs_;
};

}  // namespace

std::unique_ptr<Linear> MakePanelLinear(ThreadPool& pool, const KernelTable& table, DType dtype) {
  return std::make_unique<PanelLinear>(pool, table, dtype);
}

}  // namespace kvfold::cpu
