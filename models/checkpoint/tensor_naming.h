// models/checkpoint/tensor_naming.h: what safetensors files call the tensors of a model that was
// saved as a part of another, and which of their tensors are the model's at all.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kvfold {

// How the names of a safetensors model begin: those of a language model saved by itself
// ("model.layers.0...", "lm_head.weight"), or what stands there where it was saved as a part of
// another ("language_model.model.layers.0...") or without its head ("layers.0...").
struct TensorNaming {
  std::string body = "model.";  // before "layers.0...", "embed_tokens.weight", "norm.weight"
  std::string head = "lm_head.weight";  // the whole name

  bool operator==(const TensorNaming&) const = default;
};

// Told by the one place in `names` where layers stand; the usual naming where there is none or
// where the usual names are among them. Throws InputError naming `path` where layers of several
// models are there and none by the usual names.
TensorNaming FindTensorNaming(std::span<const std::string_view> names, const std::string& path);

// "language_model.model.norm.weight" -> "model.norm.weight"; nullopt where no model here has such a
// tensor.
std::optional<std::string> NameFromNaming(const TensorNaming& naming, std::string_view name);
std::string NameInNaming(const TensorNaming& naming, std::string_view name);  // the other way round

// Whether a tensor by this name of the file would be a part of the language model itself (of a
// layer, of the embedding, of the final norm, of the head), were it known: what is beside that
// (a vision tower, a projector) is nobody's here.
bool IsOfModel(const TensorNaming& naming, std::string_view name);

// Tensors of a layer that change no result: tables that are computed anew (rotary_emb.inv_freq),
// masks, the scales of somebody's quantised cache. `n_dims`: of its shape.
bool IsHarmlessTensor(std::string_view name, size_t n_dims);

}  // namespace kvfold
