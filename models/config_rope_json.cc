#include "models/config_rope_json.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "comm/error.h"
#include "models/config_keys_json.h"

namespace kvfold {
namespace {

std::string ReadType(JsonFields& scaling) {
  const auto rope_type = scaling.String("rope_type");
  const auto type = scaling.String("type");
  if (rope_type.has_value() && type.has_value() && *rope_type != *type) {
    scaling.Refuse("type", "the same as rope_type");
  }
  return rope_type.has_value() ? *rope_type : type.value_or("default");
}

// Outside of the settings: transformers 5 reads it there.
struct OuterPositions {
  std::optional<int64_t> value;
  int64_t fallback;
};

void ReadSettings(JsonFields& scaling, const OuterPositions& outer, RopeConfig* into,
                  ConfigOrigins* origins, ConfigRefusals* refusals) {
  RopeConfig& rope = *into;
  const auto of = [&](const std::string& key) -> Origin {
    return {scaling.what(), scaling.Full(key)};
  };
  const std::string type = ReadType(scaling);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.factor = scaling.At("factor").Number();
  } else if (type == "llama3") {
    rope.scaling = RopeConfig::Scaling::kLlama3;
    rope.factor = scaling.At("factor").Number();
    rope.low_freq_factor = scaling.At("low_freq_factor").Number();
    rope.high_freq_factor = scaling.At("high_freq_factor").Number();
    // transformers 4 reads the one inside, transformers 5 the one outside.
    const auto inner_positions = scaling.Int("original_max_position_embeddings");
    if (inner_positions.has_value() && outer.value.has_value() &&
        *inner_positions != *outer.value) {
      scaling.Refuse("original_max_position_embeddings",
                     fmt::format("the same as outside it, {}", *outer.value));
    }
    rope.original_max_positions = inner_positions.value_or(outer.value.value_or(outer.fallback));
    origins->original_max_positions =
        inner_positions.has_value() ? of("original_max_position_embeddings")
        : outer.value.has_value()   ? Origin{scaling.what(), "original_max_position_embeddings"}
                                    : origins->max_positions;
  } else if (type != "default") {
    refusals->Add(fmt::format("{}, expected \"default\", \"linear\" or \"llama3\"",
                              scaling.Found(scaling.HasKey("rope_type") ? "rope_type" : "type")));
    return;  // the other keys are that type's
  }
  // A factor of 1 scales nothing, and only llama3 asks where scaling begins.
  if (type == "default" && scaling.Number("factor").value_or(1.0) != 1.0) {
    refusals->AddUnknown(scaling.Full("factor"), scaling.FoundUnknown("factor"));
  }
  scaling.HasKey("original_max_position_embeddings");
  origins->factor = of("factor");
  origins->low_freq_factor = of("low_freq_factor");
  origins->high_freq_factor = of("high_freq_factor");
  if (scaling.Number("partial_rotary_factor").value_or(1.0) != 1.0) {
    refusals->AddIgnorable(scaling.Full("partial_rotary_factor"),
                           fmt::format("{}, expected 1; another value is not supported",
                                       scaling.Found("partial_rotary_factor")));
  }
  for (const std::string& key : scaling.UnknownKeys()) {
    if (IsNeutralValue(scaling.Full(key), scaling.object()[key], scaling.object())) continue;
    refusals->AddUnknown(scaling.Full(key), scaling.FoundUnknown(key));
  }
}

}  // namespace

RopeConfig ReadJsonRope(JsonFields& fields, double default_theta, int64_t max_positions,
                        ConfigOrigins* origins, ConfigRefusals* refusals) {
  RopeConfig rope;
  const auto outer_theta = fields.Number("rope_theta");
  const OuterPositions outer = {fields.Int("original_max_position_embeddings"), max_positions};
  const nlohmann::json* const old_spelling = fields.Object("rope_scaling");
  const nlohmann::json* const new_spelling = fields.Object("rope_parameters");
  if (old_spelling != nullptr && new_spelling != nullptr && *old_spelling != *new_spelling) {
    fields.Refuse("rope_scaling", "null, as rope_parameters is given too");
  }
  rope.theta = outer_theta.value_or(default_theta);
  origins->theta = {fields.what(), "rope_theta"};
  const bool is_new = new_spelling != nullptr;
  const nlohmann::json* const settings = is_new ? new_spelling : old_spelling;
  if (settings == nullptr) return rope;

  JsonFields scaling(*settings, fields.what(), is_new ? "rope_parameters." : "rope_scaling.");
  const auto inner_theta = scaling.Number("rope_theta");
  if (inner_theta.has_value()) {
    if (outer_theta.has_value() && *outer_theta != *inner_theta) {
      scaling.Refuse("rope_theta",
                     fmt::format("the same as rope_theta outside it, {}", *outer_theta));
    }
    rope.theta = *inner_theta;
    origins->theta = {fields.what(), scaling.Full("rope_theta")};
  }
  ReadSettings(scaling, outer, &rope, origins, refusals);
  return rope;
}

std::vector<RopeConfig> ReadJsonRopes(JsonFields& fields, double default_theta,
                                      double default_local_theta, int64_t max_positions,
                                      ConfigOrigins* origins, ConfigRefusals* refusals) {
  RopeConfig local;
  local.theta = fields.Number("rope_local_base_freq").value_or(default_local_theta);
  constexpr std::string_view kParts[] = {"full_attention", "sliding_attention"};
  const nlohmann::json* const by_type = fields.Object("rope_parameters");
  if (by_type == nullptr ||
      std::ranges::none_of(kParts, [&](auto part) { return by_type->contains(part); })) {
    return {ReadJsonRope(fields, default_theta, max_positions, origins, refusals), local};
  }
  const double theta = fields.Number("rope_theta").value_or(default_theta);
  const OuterPositions outer = {fields.Int("original_max_position_embeddings"), max_positions};
  JsonFields types(*by_type, fields.what(), "rope_parameters.");
  std::vector<RopeConfig> ropes = {{.theta = theta}, local};
  for (size_t i = 0; i < ropes.size(); ++i) {
    const std::string part(kParts[i]);
    const nlohmann::json* const settings = types.Object(part);
    if (settings == nullptr) continue;
    JsonFields scaling(*settings, fields.what(), types.Full(part) + ".");
    ropes[i].theta = scaling.Number("rope_theta").value_or(ropes[i].theta);
    origins->theta = {fields.what(), scaling.Full("rope_theta")};
    ReadSettings(scaling, outer, &ropes[i], origins, refusals);
  }
  for (const std::string& key : types.UnknownKeys()) {
    refusals->AddUnknown(types.Full(key), types.FoundUnknown(key));
  }
  return ropes;
}

}  // namespace kvfold
