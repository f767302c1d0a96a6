// shard/detail/kv_pool_state.h: what KvPool holds and KvCache draws on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/device/device.h"
#include "shard/kv_cache.h"

namespace kvfold {

namespace internal {

// Blocks that `n_positions` positions from a sequence's start fill, the last one perhaps in part.
inline int64_t BlocksCovering(int64_t n_positions) {
  return n_positions / kBlockTokens + (n_positions % kBlockTokens != 0 ? 1 : 0);
}

// Ends the process over a broken ownership rule, where a destructor has no way to throw and going
// on would write to freed memory.
[[noreturn]] void AbortWith(const std::string& message) noexcept;

// The blocks of one layer group: reference counts, and a stack of the free ones. Blocks are taken
// in rising order at first and the one given back last is taken first, so that memory that was
// never needed is never touched. What is taken depends on the calls alone: ranks that make the same
// calls hold the same blocks.
class BlockPool {
 public:
  BlockPool(Buffer memory, int64_t block_bytes, int64_t capacity_blocks);

  int64_t capacity_blocks() const { return static_cast<int64_t>(references_.size()); }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int64_t allocated_bytes() const { return memory_.bytes(); }
  int64_t block_bytes() const { return block_bytes_; }

  // A block held once. Requires free_blocks() > 0.
  std::byte* Take();
  void Share(std::byte* block) { ++references_[Id(block)]; }
  // Holds the block once less; the last holder frees it.
  void Release(std::byte* block) noexcept;
  int64_t references(const std::byte* block) const { return references_[Id(block)]; }

 private:
  size_t Id(const std::byte* block) const {
    return static_cast<size_t>((block - memory_.data()) / block_bytes_);
  }

  Buffer memory_;
  int64_t block_bytes_;
  std::vector<int64_t> references_;  // by block id
  std::vector<int64_t> free_;  // block ids; the back is taken next. Its room is reserved for all:
                               // Release cannot throw.
};

}  // namespace internal

struct KvPool::State {
  struct LayerPlace {
    int group = -1;            // -1: this layer is in no group
    int64_t offset_bytes = 0;  // within a block of the group
  };

  Device* device = nullptr;  // of the blocks
  KvLayout layout;
  std::vector<internal::BlockPool> pools;  // by group
  std::vector<LayerPlace> layers;          // by layer of the model
  int64_t n_caches = 0;                    // alive
};

}  // namespace kvfold
