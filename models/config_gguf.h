// models/config_gguf.h: ModelConfig from the head of a GGUF file, or of several that are one model.
#pragma once

#include <filesystem>

#include "models/model_config.h"

namespace kvfold {

// Of the families that GGUF has a name for (Mistral and SmolLM2 say "llama"). Keys of the
// architecture that are not known are refused as in config.json, all at once. Tensors are for
// OpenModelWeights to judge. Throws InputError as ReadModelConfig does.
ModelConfig ReadGgufConfig(const std::filesystem::path& file, const ConfigOptions& options);

}  // namespace kvfold
