#include "models/checkpoint/tensor_names.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace kvfold {
namespace {

struct NamePair {
  std::string_view gguf;
  std::string_view hugging_face;
};

constexpr NamePair kModelTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

// After "blk.N." and "model.layers.N.".
constexpr NamePair kLayerTensors[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
};

constexpr std::string_view kGgufLayers = "blk.";
constexpr std::string_view kLayers = "model.layers.";

// "PREFIXn.rest" to (n, rest); n without leading zeros, so that no two names mean one layer.
std::optional<std::pair<std::string_view, std::string_view>> SplitLayer(std::string_view name,
                                                                        std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  size_t digits = 0;
  while (digits < name.size() && name[digits] >= '0' && name[digits] <= '9') ++digits;
  if (digits == 0 || digits > 9 || digits >= name.size() || name[digits] != '.')
    return std::nullopt;
  if (name[0] == '0' && digits > 1) return std::nullopt;
  return std::pair(name.substr(0, digits), name.substr(digits + 1));
}

}  // namespace

bool IsModelTensor(std::string_view name) {
  for (const NamePair& pair : kModelTensors) {
    if (name == pair.hugging_face) return true;
  }
  const auto layer = SplitLayer(name, kLayers);
  if (!layer.has_value()) return false;
  for (const NamePair& pair : kLayerTensors) {
    if (layer->second == pair.hugging_face) return true;
  }
  return false;
}

std::optional<std::string> NameFromGguf(std::string_view gguf_name) {
  for (const NamePair& pair : kModelTensors) {
    if (gguf_name == pair.gguf) return std::string(pair.hugging_face);
  }
  const auto layer = SplitLayer(gguf_name, kGgufLayers);
  if (!layer.has_value()) return std::nullopt;
  for (const NamePair& pair : kLayerTensors) {
    if (layer->second == pair.gguf) {
      return fmt::format("{}{}.{}", kLayers, layer->first, pair.hugging_face);
    }
  }
  return std::nullopt;
}

std::string NameInGguf(std::string_view name) {
  for (const NamePair& pair : kModelTensors) {
    if (name == pair.hugging_face) return std::string(pair.gguf);
  }
  if (const auto layer = SplitLayer(name, kLayers)) {
    for (const NamePair& pair : kLayerTensors) {
      if (layer->second == pair.hugging_face) {
        return fmt::format("{}{}.{}", kGgufLayers, layer->first, pair.gguf);
      }
    }
  }
  return std::string(name);
}

int64_t LayerOf(std::string_view name) {
  const auto layer = SplitLayer(name, kLayers);
  if (!layer.has_value()) return -1;
  int64_t number = -1;
  std::from_chars(layer->first.data(), layer->first.data() + layer->first.size(), number);
  return number;
}

RotaryRows RotaryRowsOf(std::string_view name) {
  const auto layer = SplitLayer(name, kLayers);
  if (!layer.has_value()) return RotaryRows::kNone;
  if (layer->second.starts_with("self_attn.q_proj.")) return RotaryRows::kQuery;
  if (layer->second.starts_with("self_attn.k_proj.")) return RotaryRows::kKey;
  return RotaryRows::kNone;
}

}  // namespace kvfold
