#include "launcher/ranks/loaded_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>

#include "comm/cuda/cuda_backend.h"
#include "comm/device/host_limits.h"
#include "comm/heartbeat/addresses.h"
#include "comm/heartbeat/judge.h"
#include "launcher/ranks/agreement.h"
#include "launcher/report.h"
#include "models/checkpoint/model_weights.h"
#include "models/checkpoint/random_checkpoint.h"
#include "runtime/kernels/cpu/isa.h"

namespace kvfold {

DType ActivationDType(const ModelOptions& options, DeviceKind kind) {
  if (options.dtype != "auto") return ParseDType(options.dtype);
  if (kind == DeviceKind::kCuda) return DType::kBF16;
  return DetectCpuIsa() >= CpuIsa::kAvx512Bf16 ? DType::kBF16 : DType::kF32;
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
  group_.SetStepTimeout(options_.step_timeout());
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
    checkpoint_ = random ? MakeRandomCheckpoint(config_)
                         : OpenModelWeights(path_, config_, {options_.ignored_config_keys});
    fingerprint_ = checkpoint_->Fingerprint();
  });
  const int n_threads = RankThreads(options_, group_.host_size());
  device_ = std::make_unique<RankDevice>(group_, options_, n_threads);
  dtype_ = ActivationDType(options_, device_->kind());
  RunTogether(communicator, [&] { kernels_ = device_->MakeKernels(dtype_); });
  RunForFirst(communicator, [&] {
    if (is_first()) embeddings_ = std::make_unique<CheckpointEmbeddings>(config_, *checkpoint_);
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
                   device_->kind() == DeviceKind::kCuda ? "a GPU multiplies bf16 natively"
                   : dtype_ == DType::kBF16             ? "this processor multiplies bf16 natively"
                                                        : "this processor has no bf16 products");
    }
    const std::string threads = Count(n_threads, "thread");
    spdlog::info(
        "{} on {}, {}, {}; kernels: {}", config_.architecture,
        group_.size() == 1
            ? std::string("one rank")
            : fmt::format("{} ranks over {}", group_.size(), device_->communicator().transport()),
        device_->description(), group_.size() == 1 ? threads : threads + " each", kernels_->name());
  }
}

LoadedModel::~LoadedModel() = default;

DType LoadedModel::sum_dtype() const {
  return options_.allreduce_dtype == "f32" ? DType::kF32 : kernels_->product_dtype();
}

void LoadedModel::Load(EngineOptions engine_options) {
  Communicator& communicator = device_->communicator();
  engine_options.kv_dtype = CacheDType(options_, dtype_);
  engine_options.sums_in_f32 = sum_dtype() == DType::kF32;
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&engine_options, 1)), 0);
  MemoryModel memory_model = RankMemoryModel(config_, *kernels_, engine_options);
  if (device_->kind() == DeviceKind::kCuda)
    memory_model.reserved_bytes += kEstimatedCudaReservedBytes;
  planned_ = PlanRanks(config_, *plan_, memory_model, engine_options.max_tokens,
                       engine_options.max_chunk, engine_options.max_sequences);
  if (is_first()) {
    PrintRankTable(*plan_, planned_);
    if (config_.max_positions > 0 && engine_options.max_tokens > config_.max_positions) {
      spdlog::warn("up to {} positions are asked for, this model was trained on {}: going on",
                   engine_options.max_tokens, config_.max_positions);
    }
  }
  RunTogether(communicator, [&] { CheckMemoryLimit(); });
  const auto start = std::chrono::steady_clock::now();
  RankProgress& progress = communicator.progress();
  double load_s = 0.0;
  const auto load = [&] {
    progress.Enter(Phase::kLoading);
    weights_ = std::make_unique<Weights>(config_, plan_->rank(group_.rank()), *checkpoint_,
                                         *kernels_, device_->device(),
                                         [&](int64_t, int64_t) { progress.TensorLoaded(); });
    device_->device().stream().Synchronize();  // what was sent to a GPU has arrived
    load_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    engine_ = std::make_unique<Engine>(config_, *plan_, *weights_, *kernels_, communicator,
                                       device_->device(), engine_options);
    const RankMemory& planned = planned_[static_cast<size_t>(group_.rank())];
    KVFOLD_CHECK(weights_->bytes() == planned.weights_bytes &&
                     engine_->cache_bytes() == planned.cache_bytes &&
                     engine_->workspace_bytes() == planned.workspace_bytes,
                 "weights", weights_->bytes(), "planned_weights", planned.weights_bytes, "cache",
                 engine_->cache_bytes(), "planned_cache", planned.cache_bytes, "workspace",
                 engine_->workspace_bytes(), "planned_workspace", planned.workspace_bytes);
    const int64_t all = planned.weights_bytes + planned.cache_bytes + planned.workspace_bytes +
                        kernels_->OwnBytes();
    KVFOLD_CHECK(device_->device().allocated_bytes() == all, "allocated",
                 device_->device().allocated_bytes(), "planned", all);
  };
  RunTogether(communicator, [&] {
    // Memory may be short on one host alone: that and the place are to be named.
    const auto place = [&]() -> std::string {
      if (group_.size() == 1) return {};
      return fmt::format("on {}, device {}, {}: ", HostName(), device_->device().name(),
                         PlaceText(progress.Read()));
    };
    try {
      load();
    } catch (const CapacityError& error) {
      throw CapacityError(place() + error.what());
    } catch (const std::bad_alloc&) {
      throw CapacityError(place() + "out of memory");
    }
  });
  device_->device_peak_bytes();
  if (is_first()) {
    spdlog::info("weights loaded and packed in {}, {:.2f} GB/s", FormatSeconds(load_s),
                 static_cast<double>(weights_->bytes()) * 1e-9 / std::max(load_s, 1e-9));
    if (device_->kind() == DeviceKind::kCuda) {
      spdlog::info("this GPU has {} in use beside this rank's buffers (planned, an estimate: {})",
                   FormatBytes(device_->measured_reserved_bytes()),
                   FormatBytes(kEstimatedCudaReservedBytes));
    }
  }
}

void LoadedModel::CheckMemoryLimit() const {
  const std::optional<int64_t> limit = MemoryLimitBytes();
  if (!limit || device_->kind() != DeviceKind::kCpu) return;
  // Of the ranks on this host at least: exact where all are here, since which are is not known.
  const size_t n_here = group_.pretended() ? 1 : static_cast<size_t>(group_.host_size());
  const auto at_least = [&](const auto& bytes_of) {
    std::vector<int64_t> bytes;
    for (const RankMemory& rank : planned_) bytes.push_back(bytes_of(rank));
    std::ranges::sort(bytes);
    return std::accumulate(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n_here),
                           int64_t{0});
  };
  const int64_t touched =
      at_least([](const RankMemory& rank) { return rank.weights_bytes + rank.workspace_bytes; });
  const std::string here = n_here == 1 ? "here" : fmt::format("for the {} ranks here", n_here);
  if (touched > *limit) {
    throw CapacityError(fmt::format(
        "weights and workspace take {} {}, the control group of this process (its container or "
        "job) is limited to {} of memory",
        FormatBytes(touched), here, FormatBytes(*limit)));
  }
  // Pages of the cache are taken as they are filled, and a text may end before it is full.
  const int64_t all = at_least([](const RankMemory& rank) { return rank.total_bytes(); });
  if (all > *limit && is_first()) {
    spdlog::warn(
        "with a full cache {} are planned {}, the control group of this process (its container or "
        "job) is limited to {} of memory and will end it then",
        FormatBytes(all), here, FormatBytes(*limit));
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

std::vector<int64_t> LoadedModel::ResidentPeaks() { return GatherBytes(ResidentPeakBytes()); }

std::vector<int64_t> LoadedModel::DevicePeaks() {
  if (device_->kind() == DeviceKind::kCpu) return {};
  return GatherBytes(device_->device_peak_bytes());
}

std::vector<int64_t> LoadedModel::DeviceReserved() {
  if (device_->kind() == DeviceKind::kCpu) return {};
  return GatherBytes(device_->measured_reserved_bytes());
}

std::vector<int64_t> LoadedModel::PeakBytes() {
  return device_->kind() == DeviceKind::kCpu ? ResidentPeaks() : DevicePeaks();
}

std::vector<int64_t> LoadedModel::GatherBytes(int64_t mine) {
  std::vector<int64_t> all(static_cast<size_t>(group_.size()));
  group_.communicator().AllGatherBytes(std::as_bytes(std::span(&mine, 1)),
                                       std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace kvfold
