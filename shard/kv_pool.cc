#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "comm/error.h"
#include "shard/detail/kv_pool_state.h"
#include "shard/kv_cache.h"

namespace kvfold {
namespace internal {

BlockPool::BlockPool(Buffer memory, int64_t block_bytes, int64_t capacity_blocks)
    : memory_(std::move(memory)),
      block_bytes_(block_bytes),
      references_(static_cast<size_t>(capacity_blocks), 0) {
  free_.reserve(static_cast<size_t>(capacity_blocks));
  for (int64_t id = capacity_blocks - 1; id >= 0; --id) free_.push_back(id);
}

std::byte* BlockPool::Take() {
  KVFOLD_CHECK(!free_.empty(), "capacity_blocks", capacity_blocks());
  const int64_t id = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(id)] = 1;
  return memory_.data() + id * block_bytes_;
}

void BlockPool::Release(std::byte* block) noexcept {
  const size_t id = Id(block);
  if (--references_[id] == 0) free_.push_back(static_cast<int64_t>(id));
}

void AbortWith(const std::string& message) noexcept {
  std::fprintf(stderr, "kvfold: %s\n", message.c_str());
  std::abort();
}

}  // namespace internal

namespace {

void CheckLayout(const KvLayout& layout) {
  KVFOLD_CHECK(!layout.has_key_bias || layout.dtype == DType::kI8, "dtype",
               DTypeName(layout.dtype));
  KVFOLD_CHECK(layout.n_kv_heads > 0 && layout.head_dim > 0, "n_kv_heads", layout.n_kv_heads,
               "head_dim", layout.head_dim);
  KVFOLD_CHECK(
      layout.interleave == 1 || layout.interleave == 2 || layout.interleave == kRowMajorTiles,
      "interleave", layout.interleave);
  KVFOLD_CHECK(layout.interleave == kRowMajorTiles || layout.head_dim % layout.interleave == 0,
               "head_dim", layout.head_dim, "interleave", layout.interleave);
}

}  // namespace

KvPool::KvPool(Device& device, KvLayout layout, std::vector<int64_t> capacity_blocks)
    : state_(std::make_unique<State>()) {
  CheckLayout(layout);
  KVFOLD_CHECK(capacity_blocks.size() == layout.groups.size(), "capacities", capacity_blocks.size(),
               "groups", layout.groups.size());
  state_->device = &device;
  state_->layout = std::move(layout);
  for (size_t group = 0; group < capacity_blocks.size(); ++group) {
    const std::vector<int64_t>& layers = state_->layout.groups[group].layers;
    KVFOLD_CHECK(!layers.empty() && state_->layout.groups[group].window >= 0, "group", group,
                 "layers", layers.size(), "window", state_->layout.groups[group].window);
    for (size_t index = 0; index < layers.size(); ++index) {
      const int64_t layer = layers[index];
      KVFOLD_CHECK(layer >= 0, "group", group, "layer", layer);
      if (layer >= static_cast<int64_t>(state_->layers.size())) {
        state_->layers.resize(static_cast<size_t>(layer) + 1);
      }
      State::LayerPlace& place = state_->layers[static_cast<size_t>(layer)];
      KVFOLD_CHECK(place.group == -1, "layer", layer, "in group", place.group, "and in", group);
      place = {static_cast<int>(group), static_cast<int64_t>(index) * state_->layout.layer_bytes()};
    }
    const int64_t block_bytes = state_->layout.block_bytes(static_cast<int>(group));
    const int64_t blocks = capacity_blocks[group];
    KVFOLD_CHECK(blocks >= 0, "group", group, "capacity_blocks", blocks);
    if (blocks > std::numeric_limits<int64_t>::max() / block_bytes) {
      throw CapacityError(
          fmt::format("a KV cache of {} blocks of {} bytes is more than any device can hold",
                      blocks, block_bytes));
    }
    state_->pools.emplace_back(device.Allocate(blocks * block_bytes), block_bytes, blocks);
  }
}

KvPool::~KvPool() {
  if (state_->n_caches == 0) return;
  internal::AbortWith(
      fmt::format("a KV pool goes while {} of its caches are alive", state_->n_caches));
}

const KvLayout& KvPool::layout() const { return state_->layout; }

int64_t KvPool::allocated_bytes() const {
  int64_t bytes = 0;
  for (const internal::BlockPool& pool : state_->pools) bytes += pool.allocated_bytes();
  return bytes;
}

int64_t KvPool::capacity_blocks(int group) const {
  return state_->pools.at(static_cast<size_t>(group)).capacity_blocks();
}

int64_t KvPool::free_blocks(int group) const {
  return state_->pools.at(static_cast<size_t>(group)).free_blocks();
}

std::vector<int64_t> KvPool::BlocksFor(const KvLayout& layout, const CacheLimits& limits) {
  KVFOLD_CHECK(limits.tokens >= 0 && limits.chunk >= 0 && limits.sequences >= 1, "tokens",
               limits.tokens, "chunk", limits.chunk, "sequences", limits.sequences);
  // Only sequences with a token hold a block. t tokens fill 1 + (t - 1) / B blocks (rounded down),
  // so s sequences of T tokens in all fill at most s + (T - s) / B: all but one of them end with a
  // block that holds a single position.
  const int64_t sequences = std::min(limits.sequences, limits.tokens);
  const int64_t blocks_of_all = sequences + (limits.tokens - sequences) / kBlockTokens;
  std::vector<int64_t> blocks;
  for (const LayerGroup& group : layout.groups) {
    if (group.window == 0 || sequences == 0) {
      blocks.push_back(blocks_of_all);
      continue;
    }
    // A sequence of L committed positions keeps [L - (W - 1), L) and appends a chunk: m = W - 1 +
    // chunk neighbours, which touch most blocks where the first of them is the last of its block: 1
    // + ceil((m - 1) / B). (No position, yet an open tail: as for m = 1.) Neither part counts for
    // more than all tokens, and a quarter of int64 is beyond all memory.
    const int64_t most = std::min(limits.tokens, std::numeric_limits<int64_t>::max() / 4);
    const int64_t neighbours =
        std::max<int64_t>(1, std::min(group.window - 1, most) + std::min(limits.chunk, most));
    const int64_t blocks_of_one = 1 + internal::BlocksCovering(neighbours - 1);
    blocks.push_back(blocks_of_one > blocks_of_all / sequences ? blocks_of_all
                                                               : sequences * blocks_of_one);
  }
  return blocks;
}

}  // namespace kvfold
