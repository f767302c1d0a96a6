// A config.json (and the same bytes as generation_config.json): the config, then the plan of who
// holds what and how many bytes that takes.
#include <algorithm>

#include "models/config_json.h"
#include "runtime/fold/engine.h"
#include "runtime/kernels/dense_sizing.h"
#include "shard/memory_plan.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace kvfold;

void Plan(const ModelConfig& config, int ranks) {
  const ShardPlan plan(config, ranks);
  const DenseSizing sizing(DType::kBF16);
  const EngineOptions options = MakeEngineOptions({.tokens = int64_t{1} << 40, .chunk = 256},
                                                  DType::kBF16, /*allreduce_in_f32=*/false);
  const MemoryModel memory = RankMemoryModel(config, sizing, options);
  for (const RankMemory& rank : PlanRanks(config, plan, memory, options.cache)) {
    KVFOLD_CHECK(rank.weights_bytes > 0 && rank.cache_bytes > 0 && rank.workspace_bytes > 0 &&
                     rank.total_bytes() > 0,
                 "total_bytes", rank.total_bytes());
  }
  LargestFittingTokens(config, plan, memory, int64_t{1} << 40, options.cache);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  static const fuzz::MarkedFolder folder({"generation_config.json"});
  fuzz::SetMappedBytes(data, size_bytes);
  fuzz::Attempt([&] {
    const ModelConfig config = ReadJsonConfig(folder.path() / "config.json", {});
    for (const RopeConfig& rope : config.ropes) RopeInverseFrequencies(rope, config.head_dim);
    for (const int ranks : {1, 3}) fuzz::Attempt([&] { Plan(config, ranks); });
  });
  return 0;
}
