#include "models/config_rope_json.h"

#include "comm/error.h"

namespace kvfold {
namespace {

double RequiredNumber(JsonFields& fields, const std::string& key) {
  const std::optional<double> value = fields.Number(key);
  if (!value.has_value()) fields.Refuse(key, "a number");
  return *value;
}

std::string ReadType(JsonFields& scaling) {
  const auto rope_type = scaling.String("rope_type");
  const auto type = scaling.String("type");
  if (rope_type.has_value() && type.has_value() && *rope_type != *type) {
    scaling.Refuse("type", "the same as rope_type");
  }
  return rope_type.has_value() ? *rope_type : type.value_or("default");
}

}  // namespace

RopeConfig ReadJsonRope(JsonFields& fields, int64_t max_positions, const ConfigOptions& options) {
  RopeConfig rope;
  const auto outer_theta = fields.Number("rope_theta");
  const nlohmann::json* const old_spelling = fields.Object("rope_scaling");
  const nlohmann::json* const new_spelling = fields.Object("rope_parameters");
  if (old_spelling != nullptr && new_spelling != nullptr && *old_spelling != *new_spelling) {
    fields.Refuse("rope_scaling", "null, as rope_parameters is given too");
  }
  rope.theta = outer_theta.value_or(10000.0);
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
  }
  const std::string type = ReadType(scaling);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.factor = RequiredNumber(scaling, "factor");
  } else if (type == "llama3") {
    rope.scaling = RopeConfig::Scaling::kLlama3;
    rope.factor = RequiredNumber(scaling, "factor");
    rope.low_freq_factor = RequiredNumber(scaling, "low_freq_factor");
    rope.high_freq_factor = RequiredNumber(scaling, "high_freq_factor");
    rope.original_max_positions =
        scaling.Int("original_max_position_embeddings").value_or(max_positions);
  } else if (type != "default") {
    scaling.Refuse(scaling.HasKey("rope_type") ? "rope_type" : "type",
                   "\"default\", \"linear\" or \"llama3\"");
  }
  if (!scaling.IsIgnored("partial_rotary_factor", options.ignored_keys) &&
      scaling.Number("partial_rotary_factor").value_or(1.0) != 1.0) {
    scaling.Refuse("partial_rotary_factor", "1; another value is not supported");
  }
  scaling.RefuseUnknown(options.ignored_keys);
  return rope;
}

}  // namespace kvfold
