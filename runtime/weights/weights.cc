#include "runtime/weights/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "shard/memory_plan.h"

namespace kvfold {
namespace {

// Hands out the one allocation piece by piece, each rounded up to 64 bytes as RankWeightsBytes
// counts them.
class Arena {
 public:
  explicit Arena(const Buffer& memory) : memory_(memory) {}
  std::byte* Take(int64_t bytes) {
    std::byte* taken = memory_.data() + used_;
    used_ += RoundUp(bytes, kAlignmentBytes);
    KVFOLD_CHECK(used_ <= memory_.bytes(), "used", used_, "planned", memory_.bytes());
    return taken;
  }
  int64_t used() const { return used_; }

 private:
  const Buffer& memory_;
  int64_t used_ = 0;
};

// What a rank takes of one tensor.
struct Piece {
  const TensorInfo* tensor;
  Range rows;
  Range cols;
};

}  // namespace

class WeightLoader {
 public:
  WeightLoader(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
               Kernels& kernels, Arena& arena, const Weights::Progress& progress,
               int64_t total_bytes)
      : config_(config),
        shard_(shard),
        checkpoint_(checkpoint),
        kernels_(kernels),
        arena_(arena),
        progress_(progress),
        total_bytes_(total_bytes) {}

  void Load(int64_t layer, WeightSlot slot, SlotWeights& weights) {
    std::vector<Piece> pieces;
    bool is_norm = false;
    for (const TensorRow* const row : SlotRows(config_, layer, slot)) {
      const ModelTensor tensor = TensorOf(config_, *row, layer);
      pieces.push_back({&checkpoint_.Expect(tensor.name, tensor.rows, tensor.cols),
                        RankRange(config_, shard_, row->rows),
                        RankRange(config_, shard_, row->cols)});
      is_norm = row->role == TensorRole::kNorm;
    }
    if (pieces.empty()) return;
    const LinearShape shape = RankSlotShape(config_, shard_, layer, slot);
    if (IsVector(slot)) {
      const auto offset = static_cast<float>(is_norm ? config_.norm_offset : 0.0);
      weights.vectors_[static_cast<size_t>(slot)] = Vector(shape.n_out, pieces, offset);
    } else {
      weights.products_[static_cast<size_t>(slot)] = Product(shape, pieces);
    }
  }

 private:
  // Elements of vectors [1, n], one after the other, as f32, `offset` added.
  const float* Vector(int64_t n, const std::vector<Piece>& pieces, float offset) {
    auto* const out = reinterpret_cast<float*>(arena_.Take(n * DTypeBytes(DType::kF32)));
    std::vector<float> values(static_cast<size_t>(n));  // on the host; `out` is the device's
    float* at = values.data();
    for (const Piece& piece : pieces) {
      checkpoint_.ReadBlock(*piece.tensor, 0, 1, piece.cols.begin, piece.cols.end, at);
      at += piece.cols.size();
    }
    for (float& value : values) value += offset;
    kernels_.CopyFromHost(F32View(std::as_const(values).data(), 1, n), F32View(out, 1, n));
    return out;
  }

  // Rows of the pieces, one piece after the other, all with shape.n_in columns.
  std::unique_ptr<PackedLinear> Product(LinearShape shape, const std::vector<Piece>& pieces) {
    const auto rows = [&](int64_t row_begin, int64_t row_end, float* out) {
      int64_t first = 0;  // row of the weight at which the piece starts
      for (const Piece& piece : pieces) {
        const int64_t begin = std::max(row_begin, first);
        const int64_t end = std::min(row_end, first + piece.rows.size());
        if (begin < end) {
          checkpoint_.ReadBlock(*piece.tensor, piece.rows.begin + begin - first,
                                piece.rows.begin + end - first, piece.cols.begin, piece.cols.end,
                                out + (begin - row_begin) * shape.n_in);
        }
        first += piece.rows.size();
      }
    };
    auto packed = kernels_.Pack(shape, arena_.Take(kernels_.PackedBytes(shape)), rows);
    if (progress_) progress_(arena_.used(), total_bytes_);
    return packed;
  }

  const ModelConfig& config_;
  const RankShard& shard_;
  const Checkpoint& checkpoint_;
  Kernels& kernels_;
  Arena& arena_;
  const Weights::Progress& progress_;
  int64_t total_bytes_;
};

Weights::Weights(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
                 Kernels& kernels, Device& device, const Progress& progress) {
  const int64_t planned = RankWeightsBytes(
      config, shard, [&](LinearShape shape) { return kernels.PackedBytes(shape); });
  memory_ = device.Allocate(planned);
  Arena arena(memory_);
  WeightLoader loader(config, shard, checkpoint, kernels, arena, progress, planned);
  layers_.resize(config.layers.size());
  ForEachSlot(config, [&](int64_t layer, WeightSlot slot) {
    const bool is_of_layer = slot < WeightSlot::kFinalNorm;
    loader.Load(layer, slot, is_of_layer ? layers_[static_cast<size_t>(layer)] : model_);
  });
  KVFOLD_CHECK(arena.used() == planned, "used", arena.used(), "planned", planned);
  checkpoint.DropResidentPages();
}

}  // namespace kvfold
