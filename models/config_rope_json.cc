#include "models/config_rope_json.h"

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

}  // namespace

RopeConfig ReadJsonRope(JsonFields& fields, int64_t max_positions, ConfigOrigins* origins,
                        ConfigRefusals* refusals) {
  RopeConfig rope;
  const auto outer_theta = fields.Number("rope_theta");
  const auto outer_positions = fields.Int("original_max_position_embeddings");
  const nlohmann::json* const old_spelling = fields.Object("rope_scaling");
  const nlohmann::json* const new_spelling = fields.Object("rope_parameters");
  if (old_spelling != nullptr && new_spelling != nullptr && *old_spelling != *new_spelling) {
    fields.Refuse("rope_scaling", "null, as rope_parameters is given too");
  }
  rope.theta = outer_theta.value_or(10000.0);
  origins->theta = {fields.what(), "rope_theta"};
  const bool is_new = new_spelling != nullptr;
  const nlohmann::json* const settings = is_new ? new_spelling : old_spelling;
  if (settings == nullptr) return rope;

  JsonFields scaling(*settings, fields.what(), is_new ? "rope_parameters." : "rope_scaling.");
  const auto of = [&](const std::string& key) -> Origin {
    return {fields.what(), scaling.Full(key)};
  };
  const auto inner_theta = scaling.Number("rope_theta");
  if (inner_theta.has_value()) {
    if (outer_theta.has_value() && *outer_theta != *inner_theta) {
      scaling.Refuse("rope_theta",
                     fmt::format("the same as rope_theta outside it, {}", *outer_theta));
    }
    rope.theta = *inner_theta;
    origins->theta = of("rope_theta");
  }
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
    if (inner_positions.has_value() && outer_positions.has_value() &&
        *inner_positions != *outer_positions) {
      scaling.Refuse("original_max_position_embeddings",
                     fmt::format("the same as outside it, {}", *outer_positions));
    }
    rope.original_max_positions = inner_positions.value_or(outer_positions.value_or(max_positions));
    origins->original_max_positions =
        inner_positions.has_value()   ? of("original_max_position_embeddings")
        : outer_positions.has_value() ? Origin{fields.what(), "original_max_position_embeddings"}
                                      : origins->max_positions;
  } else if (type != "default") {
    refusals->Add(fmt::format("{}, expected \"default\", \"linear\" or \"llama3\"",
                              scaling.Found(scaling.HasKey("rope_type") ? "rope_type" : "type")));
    return rope;  // the other keys are that type's
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
  return rope;
}

}  // namespace kvfold
