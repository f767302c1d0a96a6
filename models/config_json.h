// models/config_json.h: ModelConfig from Hugging Face's config.json.
#pragma once

#include <filesystem>

#include "models/model_config.h"

namespace kvfold {

// `file` is a config.json; a generation_config.json beside it adds its end-of-text ids. Defaults
// are those of transformers' configuration classes, save that the shapes must be given. Throws
// InputError as ReadModelConfig does.
ModelConfig ReadJsonConfig(const std::filesystem::path& file, const ConfigOptions& options);

}  // namespace kvfold
