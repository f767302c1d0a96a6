// models/checkpoint/model_weights.h: a checkpoint that has just the tensors that a config asks for.
#pragma once

#include <filesystem>
#include <memory>

#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"

namespace kvfold {

// Checkpoint::Open, and then what lies between the config and the files. Throws InputError of one
// sentence that lists all tensors which are missing, of another shape, or of the model and
// accounted for by no switch of the config (unless options.ignored_keys has their name as the file
// spells it, a layer's number or * in it). Tied matrices are one, whichever of the two names is
// there; where both are and differ, the embedding is used for both, as the config says, with a
// warning. Layers beyond the config's are left alone, with a warning.
std::unique_ptr<Checkpoint> OpenModelWeights(const std::filesystem::path& model,
                                             const ModelConfig& config,
                                             const ConfigOptions& options = {});

// Whether the path has any weights to check: a shipped config and a config.json alone have none.
bool HasWeights(const std::filesystem::path& model);

}  // namespace kvfold
