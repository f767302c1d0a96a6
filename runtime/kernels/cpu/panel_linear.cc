#include <vector>

#include "runtime/kernels/cpu/cpu_linear.h"

namespace kvfold::cpu {
namespace {

constexpr int64_t kTileRows = 48;
constexpr int64_t kPanelsPerStrip = 4;

// Packed: [ceil(n_out / kPanel)][n_in][kPanel] f32, the last panel padded with zeros.
class PanelPacked : public PackedLinear {
 public:
  PanelPacked(LinearShape shape, const float* panels) : shape_(shape), panels_(panels) {}
  LinearShape shape() const override { return shape_; }
  const float* Panel(int64_t i) const { return panels_ + i * shape_.n_in * kPanel; }

 private:
  LinearShape shape_;
  const float* panels_;
};

class PanelLinear : public LinearEngine {
 public:
  PanelLinear(ThreadPool& pool, const KernelTable& table) : pool_(pool), table_(table) {}

  int64_t PackedBytes(LinearShape shape) override {
    return Panels(shape) * shape.n_in * kPanel * 4;
  }

  std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                     const WeightRows& rows) override {
    auto* const panels = reinterpret_cast<float*>(memory);
    const int64_t strips = (Panels(shape) + kPanelsPerStrip - 1) / kPanelsPerStrip;
    std::vector<std::vector<float>> staging(static_cast<size_t>(pool_.size()));
    pool_.ParallelFor(strips, [&](int64_t strip, int worker) {
      std::vector<float>& stage = staging[static_cast<size_t>(worker)];
      const int64_t begin = strip * kPanelsPerStrip * kPanel;
      const int64_t end = std::min(begin + kPanelsPerStrip * kPanel, shape.n_out);
      stage.resize(static_cast<size_t>((end - begin) * shape.n_in));
      rows(begin, end, stage.data());
      for (int64_t row = begin; row < end; ++row) {
        const float* from = stage.data() + (row - begin) * shape.n_in;
        float* to = panels + row / kPanel * shape.n_in * kPanel + row % kPanel;
        for (int64_t k = 0; k < shape.n_in; ++k) to[k * kPanel] = from[k];
      }
    });
    return std::make_unique<PanelPacked>(shape, panels);
  }

  void Run(ConstTensorView x, const PackedLinear& weight, const float* bias,
           TensorView y) override {
    const auto& packed = dynamic_cast<const PanelPacked&>(weight);
    const LinearShape shape = packed.shape();
    const int64_t tiles = (x.rows + kTileRows - 1) / kTileRows;
    pool_.ParallelFor(tiles * Panels(shape), [&](int64_t item, int) {
      const int64_t panel = item / tiles;
      const int64_t row = item % tiles * kTileRows;
      const int64_t col = panel * kPanel;
      table_.gemm_panel(reinterpret_cast<const float*>(x.Row(row)), x.stride, packed.Panel(panel),
                        std::min(kTileRows, x.rows - row), shape.n_in,
                        bias != nullptr ? bias + col : nullptr, std::min(kPanel, shape.n_out - col),
                        reinterpret_cast<float*>(y.Row(row)) + col, y.stride);
    });
  }

 private:
  static int64_t Panels(LinearShape shape) { return (shape.n_out + kPanel - 1) / kPanel; }

  ThreadPool& pool_;
  const KernelTable& table_;
};

}  // namespace

std::unique_ptr<LinearEngine> MakePanelLinear(ThreadPool& pool, const KernelTable& table) {
  return std::make_unique<PanelLinear>(pool, table);
}

}  // namespace kvfold::cpu
