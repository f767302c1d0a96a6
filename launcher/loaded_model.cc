#include "launcher/loaded_model.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "comm/heartbeat/addresses.h"
#include "comm/heartbeat/judge.h"
#include "launcher/agreement.h"
#include "launcher/report.h"
#include "models/checkpoint/random_checkpoint.h"
#include "runtime/kernels/cpu/cpu_kernels.h"
#include "runtime/kernels/cpu/isa.h"

namespace kvfold {
DType ActivationDType(const ModelOptions& options) {
  if (options.device == "cuda") {
    throw InputError("--device cuda: this build of kvfold has no CUDA kernels, use --device cpu");
  }
  const CpuIsa isa = DetectCpuIsa();
  if (options.dtype != "auto") return ParseDType(options.dtype);
  return isa == CpuIsa::kAvx512Bf16 ? DType::kBF16 : DType::kF32;
}

DType CacheDType(const ModelOptions& options, DType activation_dtype) {
  return options.kv_dtype.empty() ? activation_dtype : ParseDType(options.kv_dtype);
}

int RankThreads(const ModelOptions& options, int ranks_on_host) {
  if (options.threads > 0) return options.threads;
  return std::max(1, AvailableCores() / ranks_on_host);
}

LoadedModel::LoadedModel(RankGroup& group, const ModelOptions& options)
    : group_(group), options_(options) {
  group_.SetStepTimeout(std::chrono::seconds(options_.step_timeout_s));
  Communicator& communicator = group_.communicator();
  RunTogether(communicator, [&] {
    const bool random = !options_.random_weights.empty();
    path_ = ResolveModel(random ? options_.random_weights : options_.model);
    std::error_code not_there;
    if (!random && !std::filesystem::exists(options_.model, not_there)) {
      throw InputError(fmt::format(
          "{} is a shipped config, which has no weights: only plan takes it, expected a "
          "Hugging Face folder or a .gguf file",
          options_.model));
    }
    config_ = ReadModelConfig(path_, {options_.ignored_config_keys});
    plan_ = std::make_unique<ShardPlan>(config_, group_.size());
    dtype_ = ActivationDType(options_);
    checkpoint_ = random ? MakeRandomCheckpoint(config_) : Checkpoint::Open(path_);
    fingerprint_ = checkpoint_->Fingerprint();
    const int n_threads = RankThreads(options_, group_.host_size());
    // Where the ranks of this host have more threads than it has cores, one that spins keeps
    // another from its work.
    std::optional<std::chrono::microseconds> spin_budget;
    if (n_threads * group_.host_size() > AvailableCores())
      spin_budget = std::chrono::microseconds(0);
    device_ = std::make_unique<CpuDevice>(n_threads, spin_budget);
    kernels_ = MakeCpuKernels(*device_, dtype_, DetectCpuIsa());
  });
  RunForFirst(communicator, [&] {
    if (is_first()) embeddings_ = std::make_unique<EmbeddingSource>(config_, *checkpoint_);
  });
  // All that must be equal on every rank for its results to fit together. What only rank 0 reads
  // (inputs, sampling) is its own.
  AgreeOn(communicator, "a model with the hash", fmt::format("{:016x}", fingerprint_));
  AgreeOn(communicator, "the kernels", kernels_->name());
  AgreeOn(communicator, "a cache of", DTypeName(CacheDType(options_, dtype_)));
  AgreeOn(communicator, "--chunk", fmt::format("{}", options_.chunk));
  AgreeOn(communicator, "--attention", options_.attention);
  AgreeOn(communicator, "--max-tokens", fmt::format("{}", options_.max_tokens));
  if (is_first()) {
    if (options_.dtype == "auto") {
      spdlog::info("dtype auto: {} ({})", DTypeName(dtype_),
                   dtype_ == DType::kBF16 ? "this processor multiplies bf16 natively"
                                          : "this processor has no bf16 products");
    }
    const std::string threads = Count(device_->pool().size(), "thread");
    spdlog::info("{} on {}, {}; kernels: {}", config_.architecture,
                 group_.size() == 1
                     ? std::string("one rank")
                     : fmt::format("{} ranks over {}", group_.size(), communicator.transport()),
                 group_.size() == 1 ? threads : threads + " each", kernels_->name());
  }
}

LoadedModel::~LoadedModel() = default;

void LoadedModel::Load(EngineOptions engine_options) {
  Communicator& communicator = group_.communicator();
  engine_options.kv_dtype = CacheDType(options_, dtype_);
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&engine_options, 1)), 0);
  planned_ =
      PlanRanks(config_, *plan_, RankMemoryModel(config_, *kernels_, engine_options),
                engine_options.max_tokens, engine_options.max_chunk, engine_options.max_sequences);
  if (is_first()) {
    PrintRankTable(*plan_, planned_);
    if (config_.max_positions > 0 && engine_options.max_tokens > config_.max_positions) {
      spdlog::warn("up to {} positions are asked for, this model was trained on {}: going on",
                   engine_options.max_tokens, config_.max_positions);
    }
  }
  const auto start = std::chrono::steady_clock::now();
  RankProgress& progress = communicator.progress();
  const auto load = [&] {
    progress.Enter(Phase::kLoading);
    weights_ =
        std::make_unique<Weights>(config_, plan_->rank(group_.rank()), *checkpoint_, *kernels_,
                                  *device_, [&](int64_t, int64_t) { progress.TensorLoaded(); });
    engine_ = std::make_unique<Engine>(config_, *plan_, *weights_, *kernels_, communicator,
                                       *device_, engine_options);
    const RankMemory& planned = planned_[static_cast<size_t>(group_.rank())];
    KVFOLD_CHECK(weights_->bytes() == planned.weights_bytes &&
                     engine_->cache_bytes() == planned.cache_bytes &&
                     engine_->workspace_bytes() == planned.workspace_bytes,
                 "weights", weights_->bytes(), "planned_weights", planned.weights_bytes, "cache",
                 engine_->cache_bytes(), "planned_cache", planned.cache_bytes, "workspace",
                 engine_->workspace_bytes(), "planned_workspace", planned.workspace_bytes);
  };
  RunTogether(communicator, [&] {
    // Memory may be short on one host alone: that and the place are to be named.
    const auto place = [&]() -> std::string {
      if (group_.size() == 1) return {};
      return fmt::format("on {}, device cpu, {}: ", HostName(), PlaceText(progress.Read()));
    };
    try {
      load();
    } catch (const CapacityError& error) {
      throw CapacityError(place() + error.what());
    } catch (const std::bad_alloc&) {
      throw CapacityError(place() + "out of memory");
    }
  });
  if (is_first()) {
    spdlog::info(
        "weights loaded and packed in {}",
        FormatSeconds(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()));
  }
}

void LoadedModel::Drive(const std::function<void()>& drive) {
  RunForFirst(group_.communicator(), [&] {
    if (!is_first()) {
      try {
        engine_->Follow();
      } catch (const std::exception& error) {
        group_.EndAll(error);  // a step broke inside: the ranks are at different places
        throw;
      }
      return;
    }
    try {
      drive();
    } catch (const std::exception& error) {
      if (engine_->broken()) {
        group_.EndAll(error);
        throw;
      }
      engine_->Stop();
      throw;
    }
    engine_->Stop();
  });
  group_.communicator().progress().Enter(Phase::kEnding);
}

Ceilings LoadedModel::MeasureCeilings(int64_t rows) {
  const LayerShapes shapes = RankLayerShapes(config_, plan_->rank(group_.rank()));
  const LinearShape all[] = {shapes.qkv, shapes.attention_out, shapes.gate_up, shapes.down};
  return kernels_->MeasureCeilings(all, rows);
}

int64_t LoadedModel::DecodeBytes(int64_t n_tokens) const {
  const RankShard& shard = plan_->rank(group_.rank());
  const KvLayout layout =
      RankKvLayout(config_, shard, *kernels_, CacheDType(options_, kernels_->activation_dtype()));
  int64_t bytes = weights_->bytes();
  for (const LayerGroup& group : layout.groups) {
    const int64_t seen = group.window > 0 ? std::min(group.window, n_tokens) : n_tokens;
    bytes += seen * layout.layer_bytes() / kBlockTokens * static_cast<int64_t>(group.layers.size());
  }
  return bytes;
}

std::vector<int64_t> LoadedModel::PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const int64_t mine = int64_t{usage.ru_maxrss} * 1024;
  std::vector<int64_t> all(static_cast<size_t>(group_.size()));
  group_.communicator().AllGatherBytes(std::as_bytes(std::span(&mine, 1)),
                                       std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace kvfold
