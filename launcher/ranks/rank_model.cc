#include "launcher/ranks/rank_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>
#include <numeric>
#include <optional>

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

DType ActivationDType(const DTypeOptions& options, DeviceKind kind) {
  if (options.dtype) return *options.dtype;
  if (kind == DeviceKind::kCuda) return DType::kBF16;
  return DetectCpuIsa() >= CpuIsa::kAvx512Bf16 ? DType::kBF16 : DType::kF32;
}

DType CacheDType(const DTypeOptions& options, DType activation_dtype) {
  return options.kv_dtype.value_or(activation_dtype);
}

int RankThreads(const DeviceOptions& options, int ranks_on_host) {
  if (options.threads > 0) return options.threads;
  return std::max(1, AvailableCores() / ranks_on_host);
}

std::vector<Setting> FoldSettings(const FoldOptions& fold, int64_t max_tokens) {
  return {{"--chunk", fmt::format("{}", fold.chunk)},
          {"--attention", fold.attention_name()},
          {"--max-tokens", fmt::format("{}", max_tokens)}};
}

RankModel::RankModel(RankGroup& group, const LoadOptions& options,
                     const std::vector<Setting>& settings)
    : group_(group), options_(options) {
  group_.SetStepTimeout(options_.ranks.step_timeout());
  Communicator& communicator = group_.communicator();
  const ModelOptions& model = options_.model;
  RunTogether(communicator, [&] {
    const bool random = !model.random_weights.empty();
    path_ = ResolveModel(random ? model.random_weights : model.model);
    std::error_code not_there;
    if (!random && !std::filesystem::exists(model.model, not_there)) {
      throw InputError(fmt::format(
          "{} is a shipped config, which has no weights: only plan takes it, expected a "
          "Hugging Face folder or a .gguf file",
          model.model));
    }
    config_ = ReadModelConfig(path_, model.config);
    ShardPlan(config_, group_.size());  // can so many ranks share it?
    checkpoint_ =
        random ? MakeRandomCheckpoint(config_) : OpenModelWeights(path_, config_, model.config);
    fingerprint_ = checkpoint_->Fingerprint();
  });
  const int n_threads = RankThreads(options_.device, group_.host_size());
  device_ = std::make_unique<RankDevice>(group_, options_.device, options_.ranks, n_threads);
  RunTogether(communicator, [&] {
    kernels_ = device_->MakeKernels(ActivationDType(options_.dtypes, device_->kind()));
  });
  // All that must be equal on every rank for its results to fit together. What only rank 0 reads
  // (inputs, sampling) is its own.
  AgreeOn(communicator, "a model with the hash", fmt::format("{:016x}", fingerprint_));
  AgreeOn(communicator, "the kernels", kernels_->name());
  AgreeOn(communicator, "a cache of", DTypeName(kv_dtype()));
  for (const Setting& setting : settings) AgreeOn(communicator, setting.option, setting.value);
  if (is_first()) Describe(n_threads);
}

RankModel::~RankModel() = default;

void RankModel::Describe(int n_threads) const {
  if (!options_.dtypes.dtype) {
    spdlog::info("dtype auto: {} ({})", DTypeName(dtype()),
                 device_->kind() == DeviceKind::kCuda ? "a GPU multiplies bf16 natively"
                 : dtype() == DType::kBF16            ? "this processor multiplies bf16 natively"
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

DType RankModel::sum_dtype() const {
  return options_.dtypes.allreduce_in_f32 ? DType::kF32 : kernels_->product_dtype();
}

Session& RankModel::Load(const Workload& workload) {
  Communicator& communicator = device_->communicator();
  EngineOptions engine_options =
      MakeEngineOptions(workload, kv_dtype(), sum_dtype() == DType::kF32);
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&engine_options, 1)), 0);
  PlanMemory(engine_options);
  RunTogether(communicator, [&] { CheckMemoryLimit(); });
  RankProgress& progress = communicator.progress();
  RunTogether(communicator, [&] {
    // Memory may be short on one host alone: that and the place are to be named.
    const auto place = [&]() -> std::string {
      if (group_.size() == 1) return {};
      return fmt::format("on {}, device {}, {}: ", HostName(), device_->device().name(),
                         PlaceText(progress.Read()));
    };
    try {
      progress.Enter(Phase::kLoading);
      session_ = std::make_unique<Session>(config_, *checkpoint_, communicator, device_->device(),
                                           *kernels_, engine_options,
                                           [&](int64_t, int64_t) { progress.TensorLoaded(); });
    } catch (const CapacityError& error) {
      throw CapacityError(place() + error.what());
    } catch (const std::bad_alloc&) {
      throw CapacityError(place() + "out of memory");
    }
  });
  device_->device_peak_bytes();
  if (!is_first()) return *session_;
  const double load_s = session_->load_s();
  spdlog::info("weights loaded and packed in {}, {:.2f} GB/s", FormatSeconds(load_s),
               static_cast<double>(session_->weights().bytes()) * 1e-9 / std::max(load_s, 1e-9));
  if (device_->kind() == DeviceKind::kCuda) {
    spdlog::info("this GPU has {} in use beside this rank's buffers (planned, an estimate: {})",
                 FormatBytes(device_->measured_reserved_bytes()),
                 FormatBytes(kEstimatedCudaReservedBytes));
  }
  return *session_;
}

void RankModel::PlanMemory(const EngineOptions& options) {
  const ShardPlan shard_plan(config_, group_.size());
  MemoryModel memory_model = RankMemoryModel(config_, *kernels_, options);
  if (device_->kind() == DeviceKind::kCuda)
    memory_model.reserved_bytes += kEstimatedCudaReservedBytes;
  planned_ = PlanRanks(config_, shard_plan, memory_model, options.cache);
  if (!is_first()) return;
  PrintRankTable(shard_plan, planned_);
  if (config_.max_positions > 0 && options.cache.tokens > config_.max_positions) {
    spdlog::warn("up to {} positions are asked for, this model was trained on {}: going on",
                 options.cache.tokens, config_.max_positions);
  }
}

// Throws CapacityError where this host's ranks will touch more memory than their container has: the
// kernel would end them without a word.
void RankModel::CheckMemoryLimit() const {
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

void RankModel::Drive(const std::function<void()>& drive) {
  RunForFirst(group_.communicator(), [&] {
    try {
      session_->Drive(drive);
    } catch (const std::exception& error) {
      // A step broke inside: the ranks are at different places.
      if (!is_first() || session_->engine().broken()) group_.EndAll(error);
      throw;
    }
  });
  group_.communicator().progress().Enter(Phase::kEnding);
}

}  // namespace kvfold
