// runtime/fold/engine.h: one rank of a group that executes step plans: its transformer, its pool of
// cache blocks and the sequences in it.
//
//   rank 0:        engine.Run(plan, sink) for every step, at last engine.Stop()
//   other ranks:   engine.Follow(), which returns when rank 0 stops
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/device/device.h"
#include "runtime/fold/engine_options.h"
#include "runtime/fold/step_plan.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/step_context.h"
#include "runtime/model/transformer.h"
#include "runtime/weights/weights.h"
#include "shard/kv_cache.h"
#include "shard/memory_plan.h"
#include "shard/shard_plan.h"

namespace kvfold {

// The layout of a rank's cache, and what a rank will hold by the memory plan, with these options:
// reserved are the kernels' own bytes, to which a device's runtime may add.
KvLayout RankKvLayout(const ModelConfig& config, const RankShard& shard,
                      const KernelSizing& kernels, DType kv_dtype);
StepLimits RankStepLimits(const EngineOptions& options);
MemoryModel RankMemoryModel(const ModelConfig& config, const KernelSizing& kernels,
                            const EngineOptions& options);

// By wanted row, on every rank: what the plan's logit_use asks for; empty otherwise.
struct StepResult {
  std::vector<RowStats> statistics;
  std::vector<ArgMaxLogit> arg_max;  // columns are tokens
};

// Row `row` of the step's wanted rows, over the whole vocabulary. Called on rank 0 in rising order.
using LogitSink = std::function<void(int64_t row, std::span<const float> logits)>;

class Engine {
 public:
  // Takes the memory for cache and activations. Throws CapacityError. All referenced objects must
  // outlive it.
  Engine(const ModelConfig& config, const ShardPlan& plan, const Weights& weights, Kernels& kernels,
         Communicator& communicator, Device& device, const EngineOptions& options);
  ~Engine();

  const EngineOptions& options() const { return options_; }
  const ModelConfig& config() const { return config_; }
  int64_t cache_bytes() const { return pool_.allocated_bytes(); }
  const KvPool& pool() const { return pool_; }
  // Where the steps since the last call spent their time, once their work is done; FLOP alone
  // where they were not timed.
  StepTimings TakeTimings();
  // Steps are not timed unless they are to be: on a GPU every section marks its stream.
  void SetTimed(bool timed);
  int64_t workspace_bytes() const { return context_.memory.bytes(); }

  // Rank 0: broadcasts the plan and executes it. Whole rows of logits go to the sink.
  // With it go the releases and forks of sequences since the last one.
  StepResult Run(StepPlan& plan, const LogitSink& sink);
  // Whether sequences were released or forked since: their blocks are freed by the next plan.
  bool has_changes() const { return !releases_.empty() || !forks_.empty(); }
  // Whether a step failed inside: the ranks may be at different places, and only
  // Communicator::Abort ends them.
  bool broken() const { return broken_; }
  void Stop();
  // Other ranks: executes what rank 0 runs, until it stops.
  void Follow();

 private:
  friend class Sequence;  // whose id, releases and forks these are
  int64_t NewSequenceId() { return next_id_++; }
  void Release(int64_t id);
  void Fork(const PlannedFork& planned) { forks_.push_back(planned); }

  void AddChanges(StepPlan& plan);
  StepResult Execute(const StepPlan& plan, const LogitSink& sink);
  void ExecuteFork(const PlannedFork& planned);
  StepResult Logits(const StepPlan& plan, const LogitSink& sink);

  const ModelConfig& config_;
  Communicator& communicator_;
  EngineOptions options_;
  KvPool pool_;
  StepContext context_;
  Transformer transformer_;
  std::map<int64_t, std::unique_ptr<KvCache>> sequences_;
  int64_t next_id_ = 0;
  std::vector<int64_t> releases_;       // of the next plan
  std::vector<PlannedFork> forks_;      // likewise
  std::vector<int64_t> late_releases_;  // of the plan after it
  bool broken_ = false;
  std::exception_ptr sink_failure_;  // thrown when the step is over
  std::vector<float> logits_;        // of one gathered tile, kept for its memory
};

}  // namespace kvfold
