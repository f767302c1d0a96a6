// models/checkpoint/random_checkpoint.h: weights of a config that come from nowhere, for measuring
// shapes whose checkpoints are not at hand.
#pragma once

#include <memory>

#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"

namespace kvfold {

// Every tensor of the config, elements drawn uniformly with a variance of 1 / cols (norm weights:
// 1), a pure function of tensor, row and column: every rank sees the same model.
std::unique_ptr<Checkpoint> MakeRandomCheckpoint(const ModelConfig& config);

}  // namespace kvfold
