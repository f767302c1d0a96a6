// models/config_limits.h: what every ModelConfig must satisfy, whatever file it was read from.
#pragma once

#include <cstdint>
#include <vector>

#include "models/config_origins.h"
#include "models/model_config.h"

namespace kvfold {

// Throws InputError naming the file and the key that a value came from, the value and the range
// expected. The bounds are far above any model and low enough that products of dims, times layers
// and bytes, stay within int64_t. Token ids are not looked at: see ProducibleIds.
void CheckModelConfig(const ModelConfig& config, const ConfigOrigins& origins);

// Those of `ids` that a model of `vocab_size` tokens can produce. The others are harmless, as no
// text can contain them, and left out with one warning that names where they came from. -1 and
// 2^32 - 1 are some files' ways to say "none".
std::vector<int64_t> ProducibleIds(const std::vector<int64_t>& ids, const Origin& origin,
                                   int64_t vocab_size);
// Adds those of `ids` that it has not yet.
void AddEosIds(const std::vector<int64_t>& ids, const Origin& origin, ModelConfig* config);

}  // namespace kvfold
