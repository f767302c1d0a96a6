// tests/support/local_model.h: a model run by N ranks that are threads of this process.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "comm/device/cpu_device.h"
#include "comm/device/device_transfer.h"
#include "comm/local/local_group.h"
#include "comm/staged/staged_communicator.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/eval/score.h"
#include "runtime/fold/engine.h"
#include "runtime/fold/scheduler.h"
#include "runtime/kernels/cpu/cpu_kernels.h"
#include "runtime/session/session.h"

namespace kvfold {

// What a rank is made of. `transfer`: null where the group's own communicator reaches the device's
// memory, else the ranks sum through it (comm/staged).
struct LocalParts {
  std::unique_ptr<Device> device;
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<DeviceTransfer> transfer;
};

struct LocalModelOptions {
  int tp_size = 1;
  int threads = 1;
  int64_t chunk = 64;
  int64_t max_tokens = 512;
  int64_t max_sequences = 1;
  int64_t max_step_rows = 0;  // 0: a chunk of every sequence
  DType dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  bool allreduce_in_f32 = false;
  std::optional<CpuIsa> isa;                                       // default: the best
  std::function<LocalParts(const LocalModelOptions&)> make_parts;  // default: on the CPU
  std::optional<ModelConfig> config;                               // default: the model's own
  // Read instead of the model's own, by all ranks; `model` is then only a name.
  const Checkpoint* checkpoint = nullptr;
};

// What one rank's body sees: its session, by the names of its parts.
struct LocalRank {
  explicit LocalRank(Session& of_rank)
      : session(of_rank),
        config(session.config()),
        plan(session.shard_plan()),
        weights(session.weights()),
        kernels(session.kernels()),
        communicator(session.communicator()),
        device(session.device()),
        engine(session.engine()),
        embeddings(session.embeddings()) {}
  Session& session;
  const ModelConfig& config;
  const ShardPlan& plan;
  const Weights& weights;
  Kernels& kernels;
  Communicator& communicator;
  Device& device;
  Engine& engine;
  const EmbeddingSource& embeddings;
};

inline LocalParts CpuParts(const LocalModelOptions& options) {
  auto device = std::make_unique<CpuDevice>(options.threads);
  auto kernels = MakeCpuKernels(*device, options.dtype, options.isa.value_or(DetectCpuIsa()));
  return {std::move(device), std::move(kernels), nullptr};
}

// Loads the model on every rank and calls body on rank 0 while the others follow.
inline void RunLocalModel(const std::filesystem::path& model, const LocalModelOptions& options,
                          const std::function<void(LocalRank&)>& body,
                          const std::function<void(LocalRank&)>& every_rank = {}) {
  const ModelConfig config = options.config ? *options.config : ReadModelConfig(model);
  RunLocalRanks(options.tp_size, [&](Communicator& group) {
    const auto own = options.checkpoint == nullptr ? Checkpoint::Open(model) : nullptr;
    const Checkpoint& checkpoint = own ? *own : *options.checkpoint;
    LocalParts parts = options.make_parts ? options.make_parts(options) : CpuParts(options);
    const auto staged =
        parts.transfer ? MakeStagedCommunicator(group, std::move(parts.transfer)) : nullptr;
    Communicator& communicator = staged ? *staged : group;
    EngineOptions engine_options = MakeEngineOptions({.tokens = options.max_tokens,
                                                      .chunk = options.chunk,
                                                      .concurrency = options.max_sequences,
                                                      .gather_rows = 16},
                                                     options.kv_dtype, options.allreduce_in_f32);
    if (options.max_step_rows > 0) engine_options.max_step_rows = options.max_step_rows;
    Session session(config, checkpoint, communicator, *parts.device, *parts.kernels,
                    engine_options);
    LocalRank rank(session);
    if (every_rank) every_rank(rank);
    session.Drive([&] { body(rank); });
  });
}

// All logits [tokens, vocab_size] of a teacher-forced pass.
inline std::vector<float> LocalLogits(const std::filesystem::path& model,
                                      const std::vector<TokenId>& tokens, LocalModelOptions options,
                                      ScoreResult* result = nullptr) {
  options.max_tokens = static_cast<int64_t>(tokens.size());
  std::vector<float> logits;
  RunLocalModel(model, options, [&](LocalRank& rank) {
    ScoreCallbacks callbacks;
    callbacks.logits = [&](int64_t, std::span<const float> row) {
      logits.insert(logits.end(), row.begin(), row.end());
    };
    const ScoreResult scored =
        ScoreTokens(rank.engine, rank.embeddings, tokens, options.chunk, callbacks);
    if (result != nullptr) *result = scored;
  });
  return logits;
}

}  // namespace kvfold
