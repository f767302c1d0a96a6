// models/config_limits.h: what every ModelConfig must satisfy, whatever file it was read from.
#pragma once

#include <string>

#include "models/model_config.h"

namespace kvfold {

// Throws InputError naming `file`, the field by its name in config.json, its value and the range
// expected. The bounds are far above any model and low enough that products of dims, times layers
// and bytes, stay within int64_t.
void CheckModelConfig(const ModelConfig& config, const std::string& file);

}  // namespace kvfold
