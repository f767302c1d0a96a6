// launcher/ranks/rank_model.h: from command-line options to a session on every rank, each phase
// agreed upon before the next begins.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/options/groups.h"
#include "launcher/ranks/rank_device.h"
#include "launcher/ranks/rank_group.h"
#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "runtime/fold/engine_options.h"
#include "runtime/kernels/kernels.h"
#include "runtime/session/session.h"
#include "shard/memory_plan.h"

namespace kvfold {

// What is not asked for: bf16 on GPUs and on processors that multiply it natively, else f32; a
// cache as the activations; this rank's share of the cores that the process may use.
DType ActivationDType(const DTypeOptions& options, DeviceKind kind);
DType CacheDType(const DTypeOptions& options, DType activation_dtype);
int RankThreads(const DeviceOptions& options, int ranks_on_host);

// What the command lines of all ranks must say alike: an option, and its value here.
struct Setting {
  std::string option;
  std::string value;
};
std::vector<Setting> FoldSettings(const FoldOptions& fold, int64_t max_tokens);

// A model that every rank has opened, with the device and the kernels that it will run on. All
// ranks call the same methods in the same order; what one of them cannot do all throw, as one
// AgreedError.
class RankModel {
 public:
  // Opens the model and agrees on kernels, model and settings. Nothing is loaded yet.
  RankModel(RankGroup& group, const LoadOptions& options, const std::vector<Setting>& settings);
  ~RankModel();

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  uint64_t fingerprint() const { return fingerprint_; }
  DType dtype() const { return kernels_->activation_dtype(); }
  DType kv_dtype() const { return CacheDType(options_.dtypes, dtype()); }
  DType sum_dtype() const;  // in which half-layers' sums travel between ranks
  RankDevice& device() { return *device_; }
  const RankDevice& device() const { return *device_; }
  bool is_first() const { return group_.rank() == 0; }

  // Reads and packs the weights and takes cache and workspace for rank 0's `workload`. Rank 0 says
  // what each rank will hold and how long it took.
  Session& Load(const Workload& workload);
  const std::vector<RankMemory>& planned() const { return planned_; }

  // Session::Drive; what rank 0 throws is thrown on all. A rank that fails inside a step ends the
  // job.
  void Drive(const std::function<void()>& drive);

 private:
  void Describe(int n_threads) const;
  void PlanMemory(const EngineOptions& options);
  void CheckMemoryLimit() const;

  RankGroup& group_;
  LoadOptions options_;
  std::filesystem::path path_;
  ModelConfig config_;
  uint64_t fingerprint_ = 0;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<RankDevice> device_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<RankMemory> planned_;
  std::unique_ptr<Session> session_;
};

}  // namespace kvfold
