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

// A stack of row ranges of tensors with the same columns, read as one weight.
struct Piece {
  const TensorInfo* tensor;
  Range rows;
};

class Loader {
 public:
  Loader(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
         Kernels& kernels, Arena& arena, const Weights::Progress& progress, int64_t total_bytes)
      : config_(config),
        shard_(shard),
        checkpoint_(checkpoint),
        kernels_(kernels),
        arena_(arena),
        progress_(progress),
        total_bytes_(total_bytes) {}

  LayerWeights Layer(int64_t layer) {
    const int64_t hidden = config_.hidden;
    const int64_t head_dim = config_.head_dim;
    const int64_t q_dim = config_.n_heads * head_dim;
    const int64_t kv_dim = config_.n_kv_heads * head_dim;
    const Range q = Scaled(shard_.query_heads, head_dim);
    const Range kv = Scaled(shard_.kv_heads, head_dim);
    const LayerShapes shapes = RankLayerShapes(config_, shard_);
    const auto name = [&](const char* part) {
      return fmt::format("model.layers.{}.{}", layer, part);
    };
    const auto weight = [&](const char* part, int64_t rows, int64_t cols) -> const TensorInfo* {
      return &checkpoint_.Expect(name(part), rows, cols);
    };

    LayerWeights weights;
    weights.attention_norm = Vector({{weight("input_layernorm.weight", 1, hidden), {0, hidden}}});
    weights.ffn_norm =
        Vector({{weight("post_attention_layernorm.weight", 1, hidden), {0, hidden}}});
    if (config_.qkv_bias) {
      weights.qkv_bias = Vector({{weight("self_attn.q_proj.bias", 1, q_dim), q},
                                 {weight("self_attn.k_proj.bias", 1, kv_dim), kv},
                                 {weight("self_attn.v_proj.bias", 1, kv_dim), kv}});
    }
    weights.qkv = Rows(shapes.qkv, {{weight("self_attn.q_proj.weight", q_dim, hidden), q},
                                    {weight("self_attn.k_proj.weight", kv_dim, hidden), kv},
                                    {weight("self_attn.v_proj.weight", kv_dim, hidden), kv}});
    weights.attention_out =
        Columns(shapes.attention_out, *weight("self_attn.o_proj.weight", hidden, q_dim), q);
    weights.gate_up = Rows(
        shapes.gate_up, {{weight("mlp.gate_proj.weight", config_.ffn_dim, hidden), shard_.ffn_cols},
                         {weight("mlp.up_proj.weight", config_.ffn_dim, hidden), shard_.ffn_cols}});
    weights.down = Columns(shapes.down, *weight("mlp.down_proj.weight", hidden, config_.ffn_dim),
                           shard_.ffn_cols);
    return weights;
  }

  // Elements of vectors [1, n], one after the other, as f32.
  const float* Vector(const std::vector<Piece>& pieces) {
    int64_t n = 0;
    for (const Piece& piece : pieces) n += piece.rows.size();
    auto* const out = reinterpret_cast<float*>(arena_.Take(n * 4));
    std::vector<float> values(static_cast<size_t>(n));  // on the host; `out` is the device's
    float* at = values.data();
    for (const Piece& piece : pieces) {
      checkpoint_.ReadBlock(*piece.tensor, 0, 1, piece.rows.begin, piece.rows.end, at);
      at += piece.rows.size();
    }
    kernels_.CopyFromHost(F32View(std::as_const(values).data(), 1, n), F32View(out, 1, n));
    return out;
  }

  std::unique_ptr<PackedLinear> Rows(LinearShape shape, const std::vector<Piece>& pieces) {
    return Pack(shape, [&](int64_t row_begin, int64_t row_end, float* out) {
      int64_t first = 0;  // row of the weight at which the piece starts
      for (const Piece& piece : pieces) {
        const int64_t begin = std::max(row_begin, first);
        const int64_t end = std::min(row_end, first + piece.rows.size());
        if (begin < end) {
          checkpoint_.ReadBlock(*piece.tensor, piece.rows.begin + begin - first,
                                piece.rows.begin + end - first, 0, shape.n_in,
                                out + (begin - row_begin) * shape.n_in);
        }
        first += piece.rows.size();
      }
    });
  }

  std::unique_ptr<PackedLinear> Columns(LinearShape shape, const TensorInfo& tensor, Range cols) {
    return Pack(shape, [&](int64_t row_begin, int64_t row_end, float* out) {
      checkpoint_.ReadBlock(tensor, row_begin, row_end, cols.begin, cols.end, out);
    });
  }

 private:
  static Range Scaled(Range range, int64_t factor) {
    return {range.begin * factor, range.end * factor};
  }

  std::unique_ptr<PackedLinear> Pack(LinearShape shape, const WeightRows& rows) {
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

}  // namespace

Weights::Weights(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
                 Kernels& kernels, Device& device, const Progress& progress) {
  const int64_t planned = RankWeightsBytes(
      config, shard, [&](LinearShape shape) { return kernels.PackedBytes(shape); });
  memory_ = device.Allocate(planned);
  Arena arena(memory_);
  Loader loader(config, shard, checkpoint, kernels, arena, progress, planned);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) layers_.push_back(loader.Layer(layer));
  final_norm_ = loader.Vector(
      {{&checkpoint.Expect("model.norm.weight", 1, config.hidden), {0, config.hidden}}});
  const char* vocabulary = config.tie_embeddings ? kEmbeddingTensor : "lm_head.weight";
  vocabulary_ = loader.Rows(
      RankVocabShape(config, shard),
      {{&checkpoint.Expect(vocabulary, config.vocab_size, config.hidden), shard.vocab_rows}});
  KVFOLD_CHECK(arena.used() == planned, "used", arena.used(), "planned", planned);
  checkpoint.DropResidentPages();
}

}  // namespace kvfold
