#include "shard/kv_layout.h"

#include <algorithm>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold {

int64_t KvLayout::tile_bytes() const { return kBlockTokens * head_dim * DTypeBytes(dtype); }

int64_t KvLayout::head_bytes() const {
  const int64_t scales_bytes = dtype == DType::kI8 ? 2 * kBlockTokens * DTypeBytes(DType::kF32) : 0;
  const int64_t bias_bytes = has_key_bias ? head_dim * DTypeBytes(DType::kF32) : 0;
  const int64_t bytes = 2 * tile_bytes() + scales_bytes + bias_bytes;
  return RoundUp(bytes, kAlignmentBytes);
}

int64_t KvLayout::block_bytes(int group) const {
  KVFOLD_CHECK(0 <= group && group < static_cast<int>(groups.size()), "group", group, "groups",
               groups.size());
  return static_cast<int64_t>(groups[static_cast<size_t>(group)].layers.size()) * layer_bytes();
}

std::vector<LayerGroup> GroupLayers(const std::vector<int64_t>& layer_windows) {
  std::vector<LayerGroup> groups;
  for (size_t layer = 0; layer < layer_windows.size(); ++layer) {
    const int64_t window = layer_windows[layer];
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const LayerGroup& g) { return g.window == window; });
    if (group == groups.end()) group = groups.insert(groups.end(), LayerGroup{{}, window});
    group->layers.push_back(static_cast<int64_t>(layer));
  }
  return groups;
}

}  // namespace kvfold
