#include "models/tensor_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "comm/error.h"

namespace kvfold {
namespace {

using enum TensorRole;
using enum TensorDim;
using enum WeightSlot;
using enum TensorRow::Presence;
constexpr bool kPermuted = true;

// The rows of a layer stand together.
constexpr TensorRow kTable[] = {
    {kEmbedding, kVocabulary, kEmbeddingTensor, "token_embd.weight", kVocab, kHidden},

    {kNorm, kAttentionNorm, kFirstOfLayer, "attn_norm.weight", kOne, kHidden},
    {kNorm, kFfnNorm, "post_attention_layernorm.weight", "ffn_norm.weight", kOne, kHidden,
     kNotPostNormed},
    {kNorm, kFfnNorm, "pre_feedforward_layernorm.weight", "ffn_norm.weight", kOne, kHidden,
     kPostNormed},
    {kNorm, kPostAttentionNorm, "post_attention_layernorm.weight", "post_attention_norm.weight",
     kOne, kHidden, kPostNormed},
    {kNorm, kPostFfnNorm, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", kOne,
     kHidden, kPostNormed},
    {kWeight, kQkv, "self_attn.q_proj.weight", "attn_q.weight", kQWidth, kHidden, kAlways,
     kPermuted},
    {kWeight, kQkv, "self_attn.k_proj.weight", "attn_k.weight", kKvWidth, kHidden, kAlways,
     kPermuted},
    {kWeight, kQkv, "self_attn.v_proj.weight", "attn_v.weight", kKvWidth, kHidden},
    {kWeight, kAttentionOut, "self_attn.o_proj.weight", "attn_output.weight", kHidden, kQWidth},
    {kWeight, kGateUp, "mlp.gate_proj.weight", "ffn_gate.weight", kFfn, kHidden},
    {kWeight, kGateUp, "mlp.up_proj.weight", "ffn_up.weight", kFfn, kHidden},
    {kWeight, kDown, "mlp.down_proj.weight", "ffn_down.weight", kHidden, kFfn},
    {kBias, kQkvBias, "self_attn.q_proj.bias", "attn_q.bias", kOne, kQWidth, kBiased, kPermuted},
    {kBias, kQkvBias, "self_attn.k_proj.bias", "attn_k.bias", kOne, kKvWidth, kBiased, kPermuted},
    {kBias, kQkvBias, "self_attn.v_proj.bias", "attn_v.bias", kOne, kKvWidth, kBiased},
    {kNorm, kQueryNorm, "self_attn.q_norm.weight", "attn_q_norm.weight", kOne, kHeadDim,
     kHeadsNormed},
    {kNorm, kKeyNorm, "self_attn.k_norm.weight", "attn_k_norm.weight", kOne, kHeadDim,
     kHeadsNormed},

    {kNorm, kFinalNorm, "model.norm.weight", "output_norm.weight", kOne, kHidden},
    {kHead, kVocabulary, kHeadTensor, "output.weight", kVocab, kHidden, kUntied},
};

constexpr std::string_view kGgufLayers = "blk.";
constexpr std::string_view kLayers = "model.layers.";

// `layer` of a layer's tensor.
bool IsThere(const ModelConfig& config, const TensorRow& row, int64_t layer) {
  switch (row.presence) {
    case kAlways:
      break;
    case kBiased:
      return config.layer(layer).qkv_bias;
    case kHeadsNormed:
      return config.layer(layer).qk_norm;
    case kPostNormed:
      return config.layer(layer).post_norms;
    case kNotPostNormed:
      return !config.layer(layer).post_norms;
    case kUntied:
      return !config.tie_embeddings;
  }
  return true;
}

// "PREFIXn.rest" to the place of a layer's tensor called `rest`; n without leading zeros, so that
// no two names mean one layer. Rows of `absent` models are passed over.
std::optional<TensorPlace> Find(std::string_view name, std::string_view layers,
                                std::string_view TensorRow::*name_of,
                                std::optional<TensorRow::Presence> absent = std::nullopt) {
  int64_t layer = -1;
  if (name.starts_with(layers)) {
    const std::string_view rest = name.substr(layers.size());
    const size_t digits = std::min(rest.find('.'), rest.size());
    const char* const end = rest.data() + digits;
    if (digits == 0 || digits > 9 || digits == rest.size()) return std::nullopt;
    if (rest[0] == '-' || (rest[0] == '0' && digits > 1)) return std::nullopt;
    if (std::from_chars(rest.data(), end, layer).ptr != end) return std::nullopt;
    name = rest.substr(digits + 1);
  }
  for (const TensorRow& row : kTable) {
    if (row.is_of_layer() != (layer >= 0) || row.*name_of != name || row.presence == absent)
      continue;
    return TensorPlace{&row, layer};
  }
  return std::nullopt;
}

std::string NameOf(const TensorRow& row, int64_t layer) {
  return row.is_of_layer() ? fmt::format("{}{}.{}", kLayers, layer, row.name)
                           : std::string(row.name);
}

}  // namespace

int64_t DimSize(const ModelConfig& config, TensorDim dim) {
  switch (dim) {
    case kOne:
      break;
    case kHidden:
      return config.hidden;
    case kQWidth:
      return config.n_heads * config.head_dim;
    case kKvWidth:
      return config.n_kv_heads * config.head_dim;
    case kHeadDim:
      return config.head_dim;
    case kFfn:
      return config.ffn_dim;
    case kVocab:
      return config.vocab_size;
  }
  return 1;
}

int64_t CutUnit(const ModelConfig& config, TensorDim dim) {
  if (dim == kQWidth || dim == kKvWidth) return config.head_dim;
  return dim == kFfn || dim == kVocab ? 64 : 1;
}

std::optional<TensorPlace> FindTensorPlace(std::string_view name) {
  return Find(name, kLayers, &TensorRow::name);
}

bool IsModelTensor(std::string_view name) { return FindTensorPlace(name).has_value(); }

std::optional<std::string> NameFromGguf(std::string_view gguf_name, bool post_norms) {
  const auto place = Find(gguf_name, kGgufLayers, &TensorRow::gguf_name,
                          post_norms ? kNotPostNormed : kPostNormed);
  if (!place.has_value()) return std::nullopt;
  return NameOf(*place->row, place->layer);
}

std::string NameInGguf(std::string_view name, bool post_norms) {
  const auto place =
      Find(name, kLayers, &TensorRow::name, post_norms ? kNotPostNormed : kPostNormed);
  if (!place.has_value()) return std::string(name);
  if (!place->row->is_of_layer()) return std::string(place->row->gguf_name);
  return fmt::format("{}{}.{}", kGgufLayers, place->layer, place->row->gguf_name);
}

bool IsVector(WeightSlot slot) {
  return std::ranges::find(kTable, slot, &TensorRow::slot)->is_vector();
}

ModelTensor TensorOf(const ModelConfig& config, const TensorRow& row, int64_t layer) {
  return {&row, NameOf(row, layer), DimSize(config, row.rows), DimSize(config, row.cols)};
}

std::vector<ModelTensor> ModelTensors(const ModelConfig& config) {
  std::vector<ModelTensor> tensors;
  const auto add = [&](const TensorRow* begin, const TensorRow* end, int64_t layer) {
    for (const TensorRow* row = begin; row != end; ++row) {
      if (IsThere(config, *row, layer)) tensors.push_back(TensorOf(config, *row, layer));
    }
  };
  const TensorRow* const first = std::ranges::find_if(kTable, &TensorRow::is_of_layer);
  const TensorRow* const last = std::find_if_not(
      first, std::end(kTable), [](const TensorRow& row) { return row.is_of_layer(); });
  add(std::begin(kTable), first, -1);
  for (int64_t layer = 0; layer < config.n_layers(); ++layer) add(first, last, layer);
  add(last, std::end(kTable), -1);
  return tensors;
}

std::vector<const TensorRow*> SlotRows(const ModelConfig& config, int64_t layer, WeightSlot slot) {
  KVFOLD_CHECK(0 <= layer && layer < config.n_layers(), "layer", layer, "n_layers",
               config.n_layers());
  std::vector<const TensorRow*> rows;
  for (const TensorRow& row : kTable) {
    if (row.slot != slot || !IsThere(config, row, layer)) continue;
    if (row.role == kEmbedding && !config.tie_embeddings) continue;
    rows.push_back(&row);
  }
  return rows;
}

}  // namespace kvfold
