// shard/kv_cache.h: one rank's keys and values of one sequence: per layer group a list of shared
// immutable blocks with one open tail. Layout of a block: shard/kv_layout.h.
//
// Right:  PendingChunk chunk = cache.Begin(n);
//         for each layer: write and read through cache.View(chunk, layer);
//         cache.Commit(std::move(chunk));
// Wrong:  committing out of the order of Begin: throws std::logic_error (KVFOLD_CHECK).
// A ticket that is dropped undoes its chunk: it was never seen. Tickets are dropped last first; one
// that is dropped before its time undoes the chunks pending after it too, and their tickets can
// then only be dropped (View and Commit throw std::logic_error).
//
// One thread at a time per pool and its caches. A cache must not outlive its pool; a ticket not its
// cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/device/device.h"
#include "shard/kv_layout.h"

namespace kvfold {

class KvCache;

// What the caches of a rank are sized for.
struct CacheLimits {
  int64_t tokens = 0;     // positions that all sequences together may hold, pending ones included
  int64_t chunk = 0;      // pending positions of one sequence
  int64_t sequences = 1;  // that hold any
};

// The memory of all caches of a rank: one allocation a layer group, taken at construction, never
// grown.
class KvPool {
 public:
  // capacity_blocks: by group. Throws CapacityError from the device.
  KvPool(Device& device, KvLayout layout, std::vector<int64_t> capacity_blocks);
  ~KvPool();

  const KvLayout& layout() const;
  int64_t allocated_bytes() const;
  int64_t capacity_blocks(int group) const;
  int64_t free_blocks(int group) const;
  // Blocks that sequences within `limits` need at most, by group: for sizing. The bound is reached:
  // every sequence may waste part of a block. A sliding group counts window - 1 + chunk positions
  // and up to one block a sequence for their alignment, and never more than a group that sees all;
  // that needs DropOutOfSight after every Commit. Requires tokens, chunk >= 0 and sequences >= 1.
  static std::vector<int64_t> BlocksFor(const KvLayout& layout, const CacheLimits& limits);

 private:
  friend class KvCache;
  struct State;
  std::unique_ptr<State> state_;
};

// What a kernel sees of one layer of one sequence while a chunk is pending. Borrowed: valid until
// the next call on the cache.
struct KvView {
  // blocks[i] holds positions [(first_block + i) * kBlockTokens, ... + kBlockTokens).
  std::span<std::byte* const> blocks;
  int64_t first_block = 0;
  int64_t layer_offset_bytes = 0;  // of this layer within each block
  int64_t begin = 0;               // first position of the pending chunk
  int64_t end = 0;                 // begin + its tokens; positions [oldest(), end) may be read
  int64_t window = 0;              // of the layer's group; 0 = all
  const KvLayout* layout = nullptr;

  int64_t oldest() const { return first_block * kBlockTokens; }
  // The head (K tile, V tile, scales) of the block that holds positions [block * kBlockTokens,
  // ...). `block` counts from the sequence's start. Requires first_block <= block < first_block +
  // blocks.size(), 0 <= kv_head < n_kv_heads.
  std::byte* Head(int64_t block, int64_t kv_head) const {
    return blocks[static_cast<size_t>(block - first_block)] + layer_offset_bytes +
           kv_head * layout->head_bytes();
  }
};

class PendingChunk {
 public:
  PendingChunk() = default;
  PendingChunk(PendingChunk&& other) noexcept;
  PendingChunk& operator=(PendingChunk&& other) noexcept;
  ~PendingChunk();  // undoes the chunk unless it was committed
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }

 private:
  friend class KvCache;
  KvCache* cache_ = nullptr;  // nullptr: nothing to undo
  int64_t id_ = 0;            // among the chunks of cache_
  int64_t begin_ = 0;
  int64_t end_ = 0;
};

class KvCache {
 public:
  explicit KvCache(KvPool& pool);
  KvCache(KvCache&&) = delete;  // tickets point to it
  ~KvCache();                   // gives its blocks back. Requires: nothing pending

  // Opens room for n_tokens positions after all chunks pending before it. Throws CapacityError
  // (asked, free, pool) and changes nothing if it does not fit. n_tokens >= 0.
  [[nodiscard]] PendingChunk Begin(int64_t n_tokens);
  // Layer `layer` (of the model) as `chunk` sees it: everything before the chunk, and the chunk
  // itself to be written.
  KvView View(const PendingChunk& chunk, int64_t layer) const;
  void Commit(PendingChunk chunk);

  // Another sequence with the same committed content: shares full blocks, copies the open tail.
  // Throws CapacityError if no block is free for the tail. Requires: nothing pending.
  std::unique_ptr<KvCache> Fork() const;
  // Forgets positions [n_tokens, length()). Throws CapacityError where the new tail is shared and
  // no block is free for its copy; the blocks it frees itself count as free. Requires: nothing
  // pending; n_tokens in [0, length()]; unless n_tokens is 0, that no sliding group has dropped a
  // position that the next token sees and no other group one from n_tokens on.
  void Truncate(int64_t n_tokens);
  // Gives back the blocks of `group` that lie wholly before `position`. Requires: nothing pending,
  // 0 <= position <= length().
  void DropBefore(int group, int64_t position);
  // DropBefore for every sliding group, of all that the next token can no longer see.
  void DropOutOfSight();

  int64_t length() const;          // committed tokens
  int64_t pending_tokens() const;  // in chunks not yet committed
  int64_t blocks_held(int group) const;

 private:
  friend class PendingChunk;
  void Undo(const PendingChunk& chunk) noexcept;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvfold
