// tests/runtime/kernels/cache_tiles.h: reads and writes single elements of a cache by the formulas
// of shard/kv_layout.h, and fills a pool with what a kernel must not trust.
#pragma once

#include <cstdint>
#include <vector>

#include "shard/kv_cache.h"
#include "tests/runtime/kernels/backend.h"

namespace kvfold {

// A host copy of one head of one block: [K tile, V tile, scales, key bias].
class HeadTiles {
 public:
  HeadTiles(Backend& backend, const KvView& view, int64_t block, int64_t kv_head);
  void Store() const;  // back to the device

  // The element as it lies: f32 and bf16 as they are, int8 as a whole number. slot: position within
  // the block.
  float Key(int64_t slot, int64_t dim) const { return Read(KeyAt(slot, dim)); }
  float Value(int64_t slot, int64_t dim) const { return Read(ValueAt(slot, dim)); }
  void SetKey(int64_t slot, int64_t dim, float x) { Write(KeyAt(slot, dim), x); }
  void SetValue(int64_t slot, int64_t dim, float x) { Write(ValueAt(slot, dim), x); }
  // Of int8 caches; 1 for others, which cannot be set.
  float KeyScale(int64_t slot) const;
  float ValueScale(int64_t slot) const;
  void SetScales(int64_t slot, float key_scale, float value_scale);
  // Of caches with a key bias.
  float KeyBias(int64_t dim) const;
  void SetKeyBias(int64_t dim, float x);

 private:
  int64_t KeyAt(int64_t slot, int64_t dim) const;  // byte offsets
  int64_t ValueAt(int64_t slot, int64_t dim) const;
  float Read(int64_t at) const;
  void Write(int64_t at, float x);

  Backend& backend_;
  KvLayout layout_;
  std::byte* device_;
  std::vector<std::byte> bytes_;
};

// Writes 0x7f into every byte of all layers of group 0 of a pool that holds nothing: 3.4e38 as f32
// and as bf16, 127 as int8. Large, finite, and wrong.
void FillWithStale(Backend& backend, KvPool& pool);

}  // namespace kvfold
