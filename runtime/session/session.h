// runtime/session/session.h: all that one rank needs to run a model, complete when it is there: its
// part of the weights, the engine with cache and activations, and where embeddings come from.
//
//   Session session(config, checkpoint, communicator, device, kernels, options);
//   session.Drive([&] { ScoreTokens(session.engine(), session.embeddings(), ...); });
#pragma once

#include <cstdint>
#include <functional>

#include "comm/communicator.h"
#include "comm/device/device.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/fold/engine.h"
#include "runtime/kernels/kernels.h"
#include "runtime/weights/checkpoint_embeddings.h"
#include "runtime/weights/weights.h"
#include "shard/memory_plan.h"
#include "shard/shard_plan.h"

namespace kvfold {

class Session {
 public:
  // Reads and packs this rank's weights, then takes cache and activations: just the bytes that
  // PlanRank says. Every rank makes its own; they need not meet. Throws InputError where the
  // checkpoint is not of this config, CapacityError from the device. All referenced objects must
  // outlive it, but the config, which is copied.
  Session(const ModelConfig& config, const Checkpoint& checkpoint, Communicator& communicator,
          Device& device, Kernels& kernels, const EngineOptions& options,
          const Weights::Progress& progress = {});
  ~Session();

  const ModelConfig& config() const { return config_; }
  const ShardPlan& shard_plan() const { return shard_plan_; }
  const Weights& weights() const { return weights_; }
  double load_s() const { return load_s_; }  // in which the weights were read and packed
  Communicator& communicator() { return communicator_; }
  Device& device() { return device_; }
  Kernels& kernels() { return kernels_; }
  Engine& engine() { return engine_; }
  const EmbeddingSource& embeddings() const { return embeddings_; }

  // Runs `drive` on rank 0 while the others follow its steps, then stops them. Where `drive` throws
  // between two steps the others are stopped too; where a step has broken (Engine::broken) they
  // are not.
  void Drive(const std::function<void()>& drive);

  // What this rank's device does at best at products of this model with so many rows.
  Ceilings MeasureCeilings(int64_t rows);
  // Bytes that this rank reads to decode one token after n_tokens: weights and cache.
  int64_t DecodeBytes(int64_t n_tokens) const;

 private:
  const RankShard& shard() const { return shard_plan_.rank(communicator_.rank()); }

  const ModelConfig config_;
  Communicator& communicator_;
  Device& device_;
  Kernels& kernels_;
  ShardPlan shard_plan_;
  CheckpointEmbeddings embeddings_;
  int64_t bytes_before_;  // on the device
  double load_s_ = 0.0;
  Weights weights_;
  Engine engine_;
};

}  // namespace kvfold
