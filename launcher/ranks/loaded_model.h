// launcher/ranks/loaded_model.h: from command-line options to a model that is ready to run on every
// rank, each phase agreed upon before the next begins.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "launcher/options.h"
#include "launcher/ranks/rank_device.h"
#include "launcher/ranks/rank_group.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/fold/engine.h"
#include "runtime/kernels/kernels.h"
#include "runtime/weights/checkpoint_embeddings.h"
#include "runtime/weights/weights.h"
#include "shard/memory_plan.h"
#include "shard/shard_plan.h"

namespace kvfold {

// "auto" is bf16 on GPUs and on processors that multiply it natively, else f32.
DType ActivationDType(const ModelOptions& options, DeviceKind kind);
DType CacheDType(const ModelOptions& options, DType activation_dtype);
// Threads of one rank: --threads, else its share of the cores that this process may use.
int RankThreads(const ModelOptions& options, int ranks_on_host);

class LoadedModel {
 public:
  // Opens the model on every rank and agrees on kernels, model and options. Nothing is loaded yet.
  LoadedModel(RankGroup& group, const ModelOptions& options);
  ~LoadedModel();

  // Reads and packs the weights and takes cache and workspace on every rank; rank 0's
  // `engine_options` count (its kv_dtype is filled in here) and it prints what each rank holds.
  void Load(EngineOptions engine_options);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  Engine& engine() { return *engine_; }
  const EmbeddingSource& embeddings() { return *embeddings_; }  // rank 0
  const ModelOptions& options() const { return options_; }
  // Of data on this rank's device, and of what the hosts tell each other.
  Communicator& communicator() { return device_->communicator(); }
  const RankDevice& device() const { return *device_; }
  const std::string& transport() const { return device_->transport(); }
  bool is_first() const { return group_.rank() == 0; }
  uint64_t fingerprint() const { return fingerprint_; }
  DType dtype() const { return dtype_; }
  DType sum_dtype() const;  // in which half-layers' sums travel between ranks
  const std::vector<RankMemory>& planned() const { return planned_; }

  // Runs `drive` on rank 0 while the others follow, then stops them; whatever rank 0 throws is
  // thrown on all ranks, as one AgreedError.
  void Drive(const std::function<void()>& drive);
  // What this rank's device does at best at products of this model with so many rows.
  Ceilings MeasureCeilings(int64_t rows);
  // Bytes that this rank reads to decode one token after n_tokens: weights and cache.
  int64_t DecodeBytes(int64_t n_tokens) const;
  // By rank, on every rank: peak resident bytes of its process; the most bytes of its GPU that were
  // in use (by all its ranks where they share it) after loading or at a call of this, empty on
  // CPUs; and of the two what a user watches: the GPU's where there is one.
  std::vector<int64_t> ResidentPeaks();
  std::vector<int64_t> DevicePeaks();
  // Likewise, what its GPU has in use now beside this rank's buffers: context, kernels, libraries.
  std::vector<int64_t> DeviceReserved();
  std::vector<int64_t> PeakBytes();

 private:
  std::vector<int64_t> GatherBytes(int64_t mine);
  // Throws CapacityError where this host's ranks will touch more memory than their container has:
  // the kernel would end them without a word.
  void CheckMemoryLimit() const;

  RankGroup& group_;
  ModelOptions options_;
  std::filesystem::path path_;
  ModelConfig config_;
  uint64_t fingerprint_ = 0;
  DType dtype_ = DType::kF32;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<ShardPlan> plan_;
  std::unique_ptr<RankDevice> device_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<CheckpointEmbeddings> embeddings_;
  std::vector<RankMemory> planned_;
};

}  // namespace kvfold
