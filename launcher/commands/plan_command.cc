// kvfold plan: what each rank would hold, from the config or the file's head alone. MPI is never
// started.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "comm/device/host_limits.h"
#include "launcher/commands/command.h"
#include "launcher/options/byte_size.h"
#include "launcher/options/groups.h"
#include "launcher/options/validators.h"
#include "launcher/ranks/rank_model.h"
#include "launcher/report.h"
#include "models/checkpoint/model_weights.h"
#include "runtime/kernels/cpu/cpu_kernels.h"
#include "runtime/kernels/cpu/isa.h"
#include "runtime/kernels/dense_sizing.h"

namespace kvfold {
namespace {

struct PlanOptions {
  ModelOptions model;
  DTypeOptions dtypes;
  DeviceOptions device;
  FoldOptions fold;
  bool json = false;
  int ranks = 1;
  std::optional<std::string> device_memory;  // "40GiB"; none: this machine's, shared by the ranks
  int64_t tokens = 131072;
};

void AddPlanOptions(CLI::App& app, PlanOptions& options) {
  AddModelOptions(app, options.model,
                  "Hugging Face folder, config.json, .gguf file or the name of a shipped config")
      ->required();
  AddDTypeOptions(app, options.dtypes);
  AddDeviceOptions(app, options.device);
  AddFoldOptions(app, options.fold);
  AddOutputOptions(app, options.json);
  app.add_option("--ranks", options.ranks, "Number of ranks")
      ->check(Between(1, 1 << 20))
      ->capture_default_str();
  app.add_option(
      "--device-memory", options.device_memory,
      "Memory of each rank's device, as 40GiB (default: this machine's, shared by the ranks)");
  app.add_option("--tokens", options.tokens, "Tokens that the cache is to hold")
      ->check(Between(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

int Plan(const PlanOptions& options) {
  const std::filesystem::path path = ResolveModel(options.model.model);
  const ModelConfig config = ReadModelConfig(path, options.model.config);
  // What no run could load is not planned for. Only heads of files are read.
  if (HasWeights(path)) OpenModelWeights(path, config, options.model.config);
  const ShardPlan plan(config, options.ranks);

  // A device of a stated memory is not this machine: it is planned for as a GPU unless --device cpu
  // says otherwise.
  const bool this_machine = options.device.device == DeviceKind::kCpu ||
                            (!options.device.device && !options.device_memory);
  if (!this_machine && options.device.threads > 0)
    throw InputError("--threads is of ranks on CPUs, this plans for GPUs");
  const int64_t device_bytes = options.device_memory
                                   ? ParseBytes("--device-memory", *options.device_memory)
                                   : AvailableMemoryBytes() / options.ranks;
  std::unique_ptr<CpuDevice> device;
  std::unique_ptr<KernelSizing> sizing;
  if (this_machine) {
    device = std::make_unique<CpuDevice>(RankThreads(options.device, options.ranks));
    sizing =
        MakeCpuKernels(*device, ActivationDType(options.dtypes, DeviceKind::kCpu), DetectCpuIsa());
  } else {
    sizing = std::make_unique<DenseSizing>(options.dtypes.dtype.value_or(DType::kBF16));
  }
  const EngineOptions sizes = MakeEngineOptions(
      {.tokens = options.tokens, .chunk = options.fold.ChunkOf(options.tokens)},
      CacheDType(options.dtypes, sizing->activation_dtype()), options.dtypes.allreduce_in_f32);
  MemoryModel memory_model = RankMemoryModel(config, *sizing, sizes);
  if (!this_machine) memory_model.reserved_bytes += kEstimatedCudaReservedBytes;

  const std::vector<RankMemory> ranks = PlanRanks(config, plan, memory_model, sizes.cache);
  const bool fits = std::ranges::all_of(
      ranks, [&](const RankMemory& rank) { return rank.total_bytes() <= device_bytes; });
  const int smallest = SmallestFittingRanks(config, memory_model, device_bytes, sizes.cache);
  const int64_t largest =
      LargestFittingTokens(config, plan, memory_model, device_bytes, sizes.cache);

  if (options.json) {
    nlohmann::ordered_json per_rank = nlohmann::ordered_json::array();
    for (int rank = 0; rank < plan.tp_size(); ++rank) {
      const RankMemory& m = ranks[static_cast<size_t>(rank)];
      per_rank.push_back({{"rank", rank},
                          {"query_heads", plan.rank(rank).query_heads.size()},
                          {"kv_heads", plan.rank(rank).kv_heads.size()},
                          {"weights_bytes", m.weights_bytes},
                          {"cache_bytes", m.cache_bytes},
                          {"workspace_bytes", m.workspace_bytes},
                          {"reserved_bytes", m.reserved_bytes},
                          {"total_bytes", m.total_bytes()}});
    }
    const nlohmann::ordered_json object = {{"fits", fits},
                                           {"ranks", plan.tp_size()},
                                           {"device_bytes", device_bytes},
                                           {"dtype", DTypeName(sizing->activation_dtype())},
                                           {"kv_dtype", DTypeName(sizes.kv_dtype)},
                                           {"per_rank", per_rank},
                                           {"smallest_ranks", smallest},
                                           {"largest_tokens", largest}};
    fmt::print("{}\n", object.dump());
    return fits ? 0 : static_cast<int>(ErrorCode::kDoesNotFit);
  }

  fmt::print("{} tokens of {}, weights {}, cache {}, chunk {}, on {} of {}\n", options.tokens,
             options.model.model, DTypeName(sizing->activation_dtype()), DTypeName(sizes.kv_dtype),
             sizes.cache.chunk, Count(plan.tp_size(), this_machine ? "CPU rank" : "GPU"),
             FormatBytes(device_bytes));
  fmt::print("{}", RankTable(plan, ranks));
  std::string instead;
  if (!fits) {
    instead = smallest > 0 ? fmt::format("it would on {}", Count(smallest, "rank"))
                           : fmt::format("no number of ranks up to {} would do", config.n_heads);
    const std::string ranks_here = Count(plan.tp_size(), "rank");
    instead += largest > 0 ? fmt::format("; with {}, up to {} tokens would", ranks_here, largest)
                           : fmt::format("; {} cannot hold the weights alone", ranks_here);
    fmt::print("does not fit: {}\n", instead);
    return static_cast<int>(ErrorCode::kDoesNotFit);
  }
  if (largest == std::numeric_limits<int64_t>::max()) {
    fmt::print(
        "fits, and any length would: every layer slides; the smallest number of ranks is {}\n",
        smallest);
  } else {
    fmt::print("fits, and up to {} tokens would; the smallest number of ranks is {}\n", largest,
               smallest);
  }
  return 0;
}

}  // namespace

std::function<int()> BindPlan(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  AddPlanOptions(app, *options);
  return [options] { return Plan(*options); };
}

}  // namespace kvfold
