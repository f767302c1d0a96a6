// models/checkpoint/tensor_names.h: the tensors that a model is made of, and what files call them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvfold {

// Whether a Hugging Face name is of a tensor that a model here may read.
bool IsModelTensor(std::string_view name);

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; nullopt where no model here
// has such a tensor.
std::optional<std::string> NameFromGguf(std::string_view gguf_name);

// The other way round: "model.norm.weight" -> "output_norm.weight". Requires IsModelTensor(name).
std::string NameInGguf(std::string_view name);

// The layer of "model.layers.3.mlp.up_proj.weight"; -1 for a tensor of no layer.
int64_t LayerOf(std::string_view name);

// Which rows GGUF permutes where general.architecture is "llama".
enum class RotaryRows { kNone, kQuery, kKey };
RotaryRows RotaryRowsOf(std::string_view name);  // a Hugging Face name

}  // namespace kvfold
