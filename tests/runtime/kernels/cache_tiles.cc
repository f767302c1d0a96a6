#include "tests/runtime/kernels/cache_tiles.h"

#include <cstring>

#include "tests/runtime/kernels/reference.h"

namespace kvfold {

HeadTiles::HeadTiles(Backend& backend, const KvView& view, int64_t block, int64_t kv_head)
    : backend_(backend),
      layout_(*view.layout),
      device_(view.Head(block, kv_head)),
      bytes_(static_cast<size_t>(layout_.head_bytes())) {
  backend_.Download(bytes_.data(), device_, layout_.head_bytes());
}

void HeadTiles::Store() const { backend_.Upload(device_, bytes_.data(), layout_.head_bytes()); }

int64_t HeadTiles::KeyAt(int64_t slot, int64_t dim) const {
  const int64_t p = layout_.interleave;
  const int64_t element = p == kRowMajorTiles ? slot * layout_.head_dim + dim
                                              : (dim / p * kBlockTokens + slot) * p + dim % p;
  return element * DTypeBytes(layout_.dtype);
}

int64_t HeadTiles::ValueAt(int64_t slot, int64_t dim) const {
  const int64_t p = layout_.interleave;
  const int64_t element = p == kRowMajorTiles ? slot * layout_.head_dim + dim
                                              : (slot / p * layout_.head_dim + dim) * p + slot % p;
  return (kBlockTokens * layout_.head_dim + element) * DTypeBytes(layout_.dtype);
}

float HeadTiles::Read(int64_t at) const {
  const std::byte* const from = bytes_.data() + at;
  if (layout_.dtype == DType::kI8) return static_cast<float>(static_cast<int8_t>(*from));
  if (layout_.dtype == DType::kBF16) {
    uint16_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return FromBf16Bits(bits);
  }
  float x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

void HeadTiles::Write(int64_t at, float x) {
  std::byte* const to = bytes_.data() + at;
  if (layout_.dtype == DType::kI8) {
    *to = static_cast<std::byte>(static_cast<int8_t>(x));
  } else if (layout_.dtype == DType::kBF16) {
    const uint16_t bits = Bf16Bits(x);
    std::memcpy(to, &bits, sizeof(bits));
  } else {
    std::memcpy(to, &x, sizeof(x));
  }
}

float HeadTiles::KeyScale(int64_t slot) const {
  if (layout_.dtype != DType::kI8) return 1.0f;
  float scale;
  std::memcpy(&scale, bytes_.data() + 2 * kBlockTokens * layout_.head_dim + slot * 4, 4);
  return scale;
}

float HeadTiles::ValueScale(int64_t slot) const {
  if (layout_.dtype != DType::kI8) return 1.0f;
  float scale;
  std::memcpy(&scale,
              bytes_.data() + 2 * kBlockTokens * layout_.head_dim + kBlockTokens * 4 + slot * 4, 4);
  return scale;
}

void HeadTiles::SetScales(int64_t slot, float key_scale, float value_scale) {
  if (layout_.dtype != DType::kI8) return;
  std::byte* const scales = bytes_.data() + 2 * kBlockTokens * layout_.head_dim;
  std::memcpy(scales + slot * 4, &key_scale, 4);
  std::memcpy(scales + kBlockTokens * 4 + slot * 4, &value_scale, 4);
}

float HeadTiles::KeyBias(int64_t dim) const {
  float bias;
  std::memcpy(&bias, bytes_.data() + (2 * layout_.head_dim + 8) * kBlockTokens + dim * 4, 4);
  return bias;
}

void HeadTiles::SetKeyBias(int64_t dim, float x) {
  std::memcpy(bytes_.data() + (2 * layout_.head_dim + 8) * kBlockTokens + dim * 4, &x, 4);
}

void FillWithStale(Backend& backend, KvPool& pool) {
  const KvLayout& layout = pool.layout();
  const std::vector<std::byte> stale(static_cast<size_t>(layout.layer_bytes()), std::byte{0x7f});
  KvCache everything(pool);
  const PendingChunk chunk = everything.Begin(pool.capacity_blocks(0) * kBlockTokens);
  for (const int64_t layer : layout.groups[0].layers) {
    const KvView view = everything.View(chunk, layer);
    for (std::byte* const block : view.blocks) {
      backend.Upload(block + view.layer_offset_bytes, stale.data(), layout.layer_bytes());
    }
  }
}

}  // namespace kvfold
