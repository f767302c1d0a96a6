// models/config_rope_json.h: RoPE settings of a config.json, in either of Hugging Face's spellings.
#pragma once

#include <cstdint>

#include "models/json_fields.h"
#include "models/model_config.h"

namespace kvfold {

// Either `rope_theta` with `rope_scaling` {type or rope_type, factor, ...}, or `rope_parameters`
// {rope_theta, rope_type, ...}. `max_positions` is what original_max_position_embeddings defaults
// to, as in transformers. Throws InputError naming the key.
RopeConfig ReadJsonRope(JsonFields& fields, int64_t max_positions, const ConfigOptions& options);

}  // namespace kvfold
