#include "runtime/session/session.h"

#include <algorithm>
#include <vector>

#include "comm/base/stopwatch.h"
#include "comm/error.h"

namespace kvfold {
namespace {

Weights Load(const ModelConfig& config, const RankShard& shard, const Checkpoint& checkpoint,
             Kernels& kernels, Device& device, const Weights::Progress& progress, double& load_s) {
  const Stopwatch stopwatch;
  Weights weights(config, shard, checkpoint, kernels, device, progress);
  device.stream().Synchronize();  // what was sent to a GPU has arrived
  load_s = stopwatch.seconds();
  return weights;
}

}  // namespace

Session::Session(const ModelConfig& config, const Checkpoint& checkpoint,
                 Communicator& communicator, Device& device, Kernels& kernels,
                 const EngineOptions& options, const Weights::Progress& progress)
    : config_(config),
      communicator_(communicator),
      device_(device),
      kernels_(kernels),
      shard_plan_(config_, communicator.size()),
      embeddings_(config_, checkpoint),
      bytes_before_(device.allocated_bytes()),
      weights_(Load(config_, shard(), checkpoint, kernels, device, progress, load_s_)),
      engine_(config_, shard_plan_, weights_, kernels, communicator, device, options) {
  const RankMemory planned = PlanRank(config_, shard_plan_, communicator.rank(),
                                      RankMemoryModel(config_, kernels, options), options.cache);
  KVFOLD_CHECK(weights_.bytes() == planned.weights_bytes &&
                   engine_.cache_bytes() == planned.cache_bytes &&
                   engine_.workspace_bytes() == planned.workspace_bytes,
               "weights", weights_.bytes(), "planned_weights", planned.weights_bytes, "cache",
               engine_.cache_bytes(), "planned_cache", planned.cache_bytes, "workspace",
               engine_.workspace_bytes(), "planned_workspace", planned.workspace_bytes);
  const int64_t all = planned.weights_bytes + planned.cache_bytes + planned.workspace_bytes;
  KVFOLD_CHECK(device.allocated_bytes() - bytes_before_ == all, "allocated",
               device.allocated_bytes() - bytes_before_, "planned", all);
}

Session::~Session() = default;

void Session::Drive(const std::function<void()>& drive) {
  if (communicator_.rank() != 0) return engine_.Follow();
  try {
    drive();
  } catch (...) {
    if (!engine_.broken()) engine_.Stop();
    throw;
  }
  engine_.Stop();
}

Ceilings Session::MeasureCeilings(int64_t rows) {
  std::vector<LinearShape> shapes;  // of a layer's products
  for (const WeightSlot slot :
       {WeightSlot::kQkv, WeightSlot::kAttentionOut, WeightSlot::kGateUp, WeightSlot::kDown}) {
    shapes.push_back(RankSlotShape(config_, shard(), 0, slot));
  }
  return kernels_.MeasureCeilings(shapes, rows);
}

int64_t Session::DecodeBytes(int64_t n_tokens) const {
  const KvLayout& layout = engine_.pool().layout();
  int64_t bytes = weights_.bytes();
  for (const LayerGroup& group : layout.groups) {
    const int64_t seen = group.window > 0 ? std::min(group.window, n_tokens) : n_tokens;
    bytes += seen * layout.layer_bytes() / kBlockTokens * static_cast<int64_t>(group.layers.size());
  }
  return bytes;
}

}  // namespace kvfold
