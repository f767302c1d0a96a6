// models/config_rope_json.h: RoPE settings of a config.json, in either of Hugging Face's spellings.
#pragma once

#include <cstdint>
#include <vector>

#include "models/config_origins.h"
#include "models/config_refusals.h"
#include "models/json_fields.h"
#include "models/model_config.h"

namespace kvfold {

// Either `rope_theta` with `rope_scaling` {type or rope_type, factor, ...}, or `rope_parameters`
// {rope_theta, rope_type, ...}. `max_positions` is what original_max_position_embeddings defaults
// to, as in transformers. What is not supported goes to `refusals`, and where values came from to
// `origins`; throws InputError naming the key where one is missing or of another type.
RopeConfig ReadJsonRope(JsonFields& fields, double default_theta, int64_t max_positions,
                        ConfigOrigins* origins, ConfigRefusals* refusals);

// Of a family whose sliding layers turn by a RoPE of their own (Gemma 3): that of the layers that
// see all, then theirs. Either as above with `rope_local_base_freq`, or `rope_parameters` holds
// {full_attention: {...}, sliding_attention: {...}}.
std::vector<RopeConfig> ReadJsonRopes(JsonFields& fields, double default_theta,
                                      double default_local_theta, int64_t max_positions,
                                      ConfigOrigins* origins, ConfigRefusals* refusals);

}  // namespace kvfold
