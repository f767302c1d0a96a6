#include "models/checkpoint/tensor_naming.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tensor_table.h"

namespace kvfold {
namespace {

constexpr std::string_view kBody = "model.";

// "a.b.layers.3.input_layernorm.weight" -> "a.b."
std::optional<std::string_view> BodyOf(std::string_view name) {
  if (!name.ends_with(kFirstOfLayer)) return std::nullopt;
  constexpr std::string_view kWord = "layers.";
  const size_t at = name.rfind(kWord);
  if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) return std::nullopt;
  if (!IsModelTensor(fmt::format("{}{}", kBody, name.substr(at)))) return std::nullopt;
  return name.substr(0, at);
}

// Where the head of a body may stand: beside it, within it, beside what it is within, alone.
std::array<std::string, 4> HeadsOf(std::string_view body) {
  const std::string_view beside = body == kBody || body.ends_with(".model.")
                                      ? body.substr(0, body.size() - kBody.size())
                                      : body;
  const size_t dot = body.size() < 2 ? std::string_view::npos : body.rfind('.', body.size() - 2);
  const std::string_view outside = dot == std::string_view::npos ? "" : body.substr(0, dot + 1);
  const auto head = [](std::string_view prefix) {
    return fmt::format("{}{}", prefix, kHeadTensor);
  };
  return {head(beside), head(body), head(outside), head("")};
}

}  // namespace

TensorNaming FindTensorNaming(std::span<const std::string_view> names, const std::string& path) {
  std::set<std::string_view> present(names.begin(), names.end());
  std::set<std::string_view> bodies;
  for (const std::string_view name : names) {
    if (const auto body = BodyOf(name)) bodies.insert(*body);
  }
  TensorNaming naming;
  if (!bodies.empty() && bodies.count(kBody) == 0) {
    // A part that borrows the layers' form (one that drafts tokens, say) has no embedding.
    std::set<std::string_view> whole;
    for (const std::string_view body : bodies) {
      if (present.count(fmt::format("{}embed_tokens.weight", body)) != 0) whole.insert(body);
    }
    const std::set<std::string_view>& candidates = whole.empty() ? bodies : whole;
    if (candidates.size() > 1) {
      throw InputError(fmt::format(
          "{}: has the layers of {} models, whose names begin {} and {}, expected those of one",
          path, candidates.size(), Quoted(*candidates.begin()),
          Quoted(*std::next(candidates.begin()))));
    }
    naming.body = *candidates.begin();
  }
  for (const std::string& head : HeadsOf(naming.body)) {
    if (present.count(head) == 0) continue;
    naming.head = head;
    break;
  }
  return naming;
}

std::optional<std::string> NameFromNaming(const TensorNaming& naming, std::string_view name) {
  if (name == naming.head) return std::string(kHeadTensor);
  if (!name.starts_with(naming.body)) return std::nullopt;
  std::string model_name = fmt::format("{}{}", kBody, name.substr(naming.body.size()));
  if (!IsModelTensor(model_name)) return std::nullopt;
  return model_name;
}

std::string NameInNaming(const TensorNaming& naming, std::string_view name) {
  if (name == kHeadTensor) return naming.head;
  if (!name.starts_with(kBody)) return std::string(name);
  return fmt::format("{}{}", naming.body, name.substr(kBody.size()));
}

bool IsOfModel(const TensorNaming& naming, std::string_view name) {
  const std::string_view head_stem =
      std::string_view(naming.head)
          .substr(0, naming.head.size() - std::string_view("weight").size());
  if (name.starts_with(head_stem)) return true;
  for (const std::string& head : HeadsOf(naming.body)) {
    if (name == head) return true;
  }
  if (!name.starts_with(naming.body)) return false;
  const std::string_view rest = name.substr(naming.body.size());
  for (const std::string_view part : {"layers.", "embed_tokens.", "norm."}) {
    if (rest.starts_with(part)) return true;
  }
  // A norm or a table of the model's own beside those; behind no prefix anything may stand.
  return !naming.body.empty() && std::ranges::count(rest, '.') == 1 && rest.ends_with("weight");
}

bool IsHarmlessTensor(std::string_view name, size_t n_dims) {
  if (name.find(".rotary_emb.") != std::string_view::npos) return true;
  for (const std::string_view end : {"inv_freq", ".attn_rot_embd", ".masked_bias", ".causal_mask",
                                     ".position_ids", ".k_scale", ".v_scale", ".kv_scale"}) {
    if (name.ends_with(end)) return true;
  }
  // The causal mask that old attention modules kept as a tensor: [1, 1, n, n].
  return name.ends_with("attn.bias") && n_dims == 4;
}

}  // namespace kvfold
