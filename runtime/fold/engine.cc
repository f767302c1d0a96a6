#include "runtime/fold/engine.h"

#include <algorithm>
#include <utility>

namespace kvfold {

KvLayout RankKvLayout(const ModelConfig& config, const RankShard& shard,
                      const KernelSizing& kernels, DType kv_dtype) {
  KvLayout layout;
  layout.groups = GroupLayers(config.windows());
  layout.n_kv_heads = shard.kv_heads.size();
  layout.head_dim = config.head_dim;
  layout.dtype = kv_dtype;
  layout.interleave = kernels.kv_interleave(kv_dtype);
  layout.has_key_bias = HasKeyBias(config, kv_dtype);
  return layout;
}

StepLimits RankStepLimits(const EngineOptions& options) {
  return {.max_rows = options.max_step_rows,
          .max_sequences = options.cache.sequences,
          .max_logit_rows = options.max_logit_rows,
          .max_gather_rows = options.max_gather_rows,
          .allreduce_in_f32 = options.allreduce_in_f32,
          .kv_dtype = options.kv_dtype};
}

MemoryModel RankMemoryModel(const ModelConfig& config, const KernelSizing& kernels,
                            const EngineOptions& options) {
  MemoryModel model;
  model.packed_bytes = [&kernels](LinearShape shape) { return kernels.PackedBytes(shape); };
  model.workspace_bytes = [&config, &kernels, options](const ShardPlan& plan, int tp_rank) {
    return StepContextBytes(config, plan, tp_rank, kernels, RankStepLimits(options));
  };
  model.kv_layout = [&config, &kernels, dtype = options.kv_dtype](const RankShard& shard) {
    return RankKvLayout(config, shard, kernels, dtype);
  };
  model.reserved_bytes = kernels.OwnBytes();
  return model;
}

Engine::Engine(const ModelConfig& config, const ShardPlan& plan, const Weights& weights,
               Kernels& kernels, Communicator& communicator, Device& device,
               const EngineOptions& options)
    : config_(config),
      communicator_(communicator),
      options_(options),
      pool_(device, RankKvLayout(config, plan.rank(communicator.rank()), kernels, options.kv_dtype),
            KvPool::BlocksFor(
                RankKvLayout(config, plan.rank(communicator.rank()), kernels, options.kv_dtype),
                options.cache)),
      context_(config, plan, communicator.rank(), kernels, device, RankStepLimits(options)),
      transformer_(config, plan, weights, kernels, communicator) {
  transformer_.Prepare(context_);
}

Engine::~Engine() = default;

void Engine::SetTimed(bool timed) {
  if (timed == (context_.clock != nullptr)) return;
  context_.clock = timed ? std::make_unique<SectionClock>(context_.stream) : nullptr;
}

StepTimings Engine::TakeTimings() {
  if (context_.clock != nullptr) context_.clock->AddTo(context_.timings);
  return std::exchange(context_.timings, {});
}

StepResult Engine::Run(StepPlan& plan, const LogitSink& sink) {
  broken_ = true;  // until it has gone well
  AddChanges(plan);
  BroadcastPlan(communicator_, plan);
  StepResult result = Execute(plan, sink);
  broken_ = false;
  if (sink_failure_) std::rethrow_exception(std::exchange(sink_failure_, nullptr));
  return result;
}

void Engine::Stop() {
  StepPlan plan;
  plan.stop = true;
  BroadcastPlan(communicator_, plan);
}

void Engine::Follow() {
  StepPlan plan;
  for (;;) {
    BroadcastPlan(communicator_, plan);
    if (plan.stop) return;
    Execute(plan, {});
  }
}

// A plan's releases come before its forks, so that these have their blocks: what takes part in a
// fork that is still to be made lives until that is done.
void Engine::Release(int64_t id) {
  const bool forks = std::ranges::any_of(
      forks_, [&](const PlannedFork& fork) { return fork.id == id || fork.parent == id; });
  (forks ? late_releases_ : releases_).push_back(id);
}

void Engine::AddChanges(StepPlan& plan) {
  plan.releases.insert(plan.releases.end(), releases_.begin(), releases_.end());
  plan.forks.insert(plan.forks.end(), forks_.begin(), forks_.end());
  releases_ = std::exchange(late_releases_, {});
  forks_.clear();
}

void Engine::ExecuteFork(const PlannedFork& planned) {
  const auto parent = sequences_.find(planned.parent);
  KVFOLD_CHECK(parent != sequences_.end() && !sequences_.contains(planned.id), "fork", planned.id,
               "parent", planned.parent);
  KVFOLD_CHECK(parent->second->length() == planned.length, "fork", planned.id, "parent",
               planned.parent, "length", parent->second->length(), "planned", planned.length);
  sequences_[planned.id] = parent->second->Fork();
}

StepResult Engine::Execute(const StepPlan& plan, const LogitSink& sink) {
  for (const int64_t id : plan.releases) sequences_.erase(id);
  for (const PlannedFork& planned : plan.forks) ExecuteFork(planned);

  // Tickets are dropped last first if anything below fails: the vector is unwound by hand.
  std::vector<PendingChunk> chunks;
  chunks.reserve(plan.sequences.size());
  std::vector<StepSequence> steps;
  const int64_t rows = plan.rows();
  try {
    for (const PlannedSequence& planned : plan.sequences) {
      auto& cache = sequences_[planned.id];
      if (!cache) cache = std::make_unique<KvCache>(pool_);
      KVFOLD_CHECK(cache->length() == planned.begin, "sequence", planned.id, "length",
                   cache->length(), "begin", planned.begin);
      chunks.push_back(cache->Begin(planned.n_tokens));
      steps.push_back({cache.get(), &chunks.back(), planned.n_logit_rows});
    }
    transformer_.Forward(context_, F32View(plan.embeddings.data(), rows, config_.hidden), steps);
  } catch (...) {
    while (!chunks.empty()) chunks.pop_back();
    throw;
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    KvCache& cache = *sequences_.at(plan.sequences[i].id);
    cache.Commit(std::move(chunks[i]));
    cache.DropOutOfSight();
  }
  return Logits(plan, sink);
}

StepResult Engine::Logits(const StepPlan& plan, const LogitSink& sink) {
  const int64_t wanted = plan.wanted_rows();
  StepResult result;
  const auto by_tiles = [&](auto& out, const auto& compute) {
    out.resize(static_cast<size_t>(wanted));
    for (int64_t row = 0; row < wanted; row += options_.max_logit_rows) {
      const int64_t end = std::min(wanted, row + options_.max_logit_rows);
      compute(row, end,
              std::span(out).subspan(static_cast<size_t>(row), static_cast<size_t>(end - row)));
    }
  };
  if (plan.logit_use == LogitUse::kStatistics) {
    by_tiles(result.statistics, [&](int64_t row, int64_t end, std::span<RowStats> out) {
      const auto targets = std::span(plan.targets).subspan(static_cast<size_t>(row), out.size());
      transformer_.RowStatistics(context_, row, end, targets, out);
    });
  } else if (plan.logit_use == LogitUse::kArgMax) {
    by_tiles(result.arg_max, [&](int64_t row, int64_t end, std::span<ArgMaxLogit> out) {
      transformer_.ArgMax(context_, row, end, out);
    });
  } else if (plan.logit_use == LogitUse::kGather) {
    const int64_t tile = std::min(options_.max_gather_rows, options_.max_logit_rows);
    for (int64_t row = 0; row < wanted; row += tile) {
      const int64_t end = std::min(wanted, row + tile);
      logits_.resize(sink ? static_cast<size_t>((end - row) * config_.vocab_size) : 0);
      transformer_.GatherLogits(context_, row, end, logits_);
      for (int64_t r = row; r < end && sink && !sink_failure_; ++r) {
        try {
          sink(r, std::span(logits_).subspan(static_cast<size_t>((r - row) * config_.vocab_size),
                                             static_cast<size_t>(config_.vocab_size)));
        } catch (...) {  // the step goes on: the other ranks are in its collectives
          sink_failure_ = std::current_exception();
        }
      }
    }
  }
  return result;
}

}  // namespace kvfold
