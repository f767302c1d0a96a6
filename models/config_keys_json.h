// models/config_keys_json.h: keys of a config.json that nothing is computed from, and values that
// ask for nothing. docs/models.md says by which rules.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace kvfold {

// Whether no value of `key` changes what a Llama, Mistral or Qwen2 computes.
bool IsHarmlessKey(std::string_view key);

// Whether `value` of `key` asks for nothing or for what is done anyway: null, false, empty ones,
// and of some keys a value of their own. `config` is the whole object: another name for a shape
// ("n_layer") is neutral where it says the same.
bool IsNeutralValue(std::string_view key, const nlohmann::json& value,
                    const nlohmann::json& config);

}  // namespace kvfold
