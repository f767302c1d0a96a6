// models/tensor_table.h: every tensor that a model here may have, a row each: what files call it,
// its shape, how ranks share it, when it is there, and which weight of the device it is a part of.
// Checkpoints, loader, memory plan and random weights walk this table: a new tensor is a row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/model_config.h"

namespace kvfold {

enum class TensorRole : uint8_t { kEmbedding, kNorm, kWeight, kBias, kHead };

// The dimensions of tensors. How ranks share one is known from the dimension: heads, FFN columns
// and the vocabulary are dealt out (shard/tensor_cut.h), of all others everybody has the whole.
enum class TensorDim : uint8_t { kOne, kHidden, kQWidth, kKvWidth, kHeadDim, kFfn, kVocab };
int64_t DimSize(const ModelConfig& config, TensorDim dim);
// What no cut of a dimension parts, in elements: a head, 64 columns of the FFN or rows of the
// vocabulary; of a dimension that is not dealt out 1.
int64_t CutUnit(const ModelConfig& config, TensorDim dim);

// The weights as the device holds them: the tensors of one slot are stacked in the table's order.
// Those of a layer come first, those of the model from kFinalNorm on.
enum class WeightSlot : uint8_t {
  kAttentionNorm,  // [hidden], as all norms but those of heads
  kFfnNorm,
  kPostAttentionNorm,
  kPostFfnNorm,
  kQkv,           // rows: q heads, k heads, v heads
  kAttentionOut,  // columns: q heads
  kGateUp,        // rows: FFN columns of gate, then of up
  kDown,          // columns: FFN columns
  kQkvBias,       // [q heads, k heads, v heads]
  kQueryNorm,     // [head_dim]
  kKeyNorm,       // [head_dim]
  kFinalNorm,
  kVocabulary  // rows: the vocabulary's
};
inline constexpr int kWeightSlots = static_cast<int>(WeightSlot::kVocabulary) + 1;
bool IsVector(WeightSlot slot);  // held as f32; all others are packed products

// Calls visit(layer, slot) in the order in which weights are loaded: the slots of every layer, then
// the model's, whose layer is 0.
template <typename Visit>
void ForEachSlot(const ModelConfig& config, const Visit& visit) {
  constexpr int kFirstOfModel = static_cast<int>(WeightSlot::kFinalNorm);
  for (int64_t layer = 0; layer < config.n_layers(); ++layer) {
    for (int slot = 0; slot < kFirstOfModel; ++slot) visit(layer, static_cast<WeightSlot>(slot));
  }
  for (int slot = kFirstOfModel; slot < kWeightSlots; ++slot) {
    visit(int64_t{0}, static_cast<WeightSlot>(slot));
  }
}

struct TensorRow {
  enum class Presence : uint8_t {
    kAlways,
    kBiased,
    kHeadsNormed,
    kPostNormed,
    kNotPostNormed,
    kUntied
  };

  TensorRole role;
  WeightSlot slot;
  std::string_view name;  // Hugging Face's; of a layer's tensor what is behind "model.layers.N."
  std::string_view gguf_name;  // of a layer's what is behind "blk.N."
  TensorDim rows, cols;        // [rows, cols] as files have it; rows is kOne for a vector
  Presence presence = Presence::kAlways;
  bool is_permuted = false;  // GGUF's "llama" has the rows of every head in an order of its own

  constexpr bool is_of_layer() const { return slot < WeightSlot::kFinalNorm; }
  constexpr bool is_vector() const { return rows == TensorDim::kOne; }
  // The dimension that a product or a vector gives.
  constexpr TensorDim out_dim() const { return is_vector() ? cols : rows; }
};

// One tensor of a model by its Hugging Face name; a vector is [1, cols].
struct ModelTensor {
  const TensorRow* row = nullptr;
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
};

// All that a model of `config` is computed from.
std::vector<ModelTensor> ModelTensors(const ModelConfig& config);
// The rows that are stacked in a slot of `layer` (of the model's slots any layer): empty where the
// model has no such weight. Tied, the embedding is the vocabulary's.
std::vector<const TensorRow*> SlotRows(const ModelConfig& config, int64_t layer, WeightSlot slot);
ModelTensor TensorOf(const ModelConfig& config, const TensorRow& row, int64_t layer);

// The row and the layer of a Hugging Face name; nullopt where no model here has such a tensor.
struct TensorPlace {
  const TensorRow* row = nullptr;
  int64_t layer = -1;  // -1: of no layer
};
std::optional<TensorPlace> FindTensorPlace(std::string_view name);
bool IsModelTensor(std::string_view name);
// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; nullopt where no model here
// has such a tensor. What a norm is called on one side depends on whether the model has post-norms.
std::optional<std::string> NameFromGguf(std::string_view gguf_name, bool post_norms = false);
// The other way round: "model.norm.weight" -> "output_norm.weight". Another name is left as it is.
std::string NameInGguf(std::string_view name, bool post_norms = false);

inline constexpr std::string_view kEmbeddingTensor = "model.embed_tokens.weight";
inline constexpr std::string_view kHeadTensor = "lm_head.weight";
inline constexpr std::string_view kGgufPostNorm = "blk.0.post_attention_norm.weight";
// What every layer has, and the layers of hardly another part of a model.
inline constexpr std::string_view kFirstOfLayer = "input_layernorm.weight";

}  // namespace kvfold
