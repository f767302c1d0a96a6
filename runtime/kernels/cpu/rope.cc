#include "runtime/kernels/cpu/rope.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace kvfold::cpu {
namespace {

uint16_t Bf16Bits(float x) {  // round to nearest even; inputs are finite or already NaN
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The elements of one token in a tile: a key's are `step` apart in groups of p, a value's lie in
// one row of pairs.
struct TokenPlace {
  int64_t offset;  // of dim 0
  int64_t p;
  int64_t group_step;  // from dims [g p, g p + p) to the next p dims; for values: from a dim to the
                       // next
  bool key;
  int64_t At(int64_t d) const {
    return key ? offset + d / p * group_step + d % p : offset + d * group_step;
  }
};

TokenPlace KeyPlace(const KvLayout& layout, int64_t slot) {
  return {slot * layout.interleave, layout.interleave, kBlockTokens * layout.interleave, true};
}
TokenPlace ValuePlace(const KvLayout& layout, int64_t slot) {
  const int64_t p = layout.interleave;
  return {slot / p * layout.head_dim * p + slot % p, p, p, false};
}

float MaxAbs(const float* x, int64_t n) {
  float best = 0.0f;
  for (int64_t i = 0; i < n; ++i) best = std::max(best, std::abs(x[i]));
  return best;
}

// Whether all are numbers that stay finite where they are rounded to bf16.
bool AreFinite(const float* x, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) finite &= std::abs(x[i]) < kRoundsToInfinityInBf16;
  return finite;
}

// One value for all elements of a token in a tile: of an int8 tile as its scale.
void FillElements(const KvLayout& layout, std::byte* tile, const TokenPlace& place, float value,
                  float* scale) {
  for (int64_t d = 0; d < layout.head_dim; ++d) {
    if (layout.dtype == DType::kF32) {
      reinterpret_cast<float*>(tile)[place.At(d)] = value;
    } else if (layout.dtype == DType::kBF16) {
      reinterpret_cast<uint16_t*>(tile)[place.At(d)] = Bf16Bits(value);
    } else {
      reinterpret_cast<int8_t*>(tile)[place.At(d)] = 1;
    }
  }
  if (layout.dtype == DType::kI8) *scale = value;
}

void WriteElements(const KvLayout& layout, std::byte* tile, const TokenPlace& place, const float* x,
                   float* scale) {
  const int64_t n = layout.head_dim;
  switch (layout.dtype) {
    case DType::kF32: {
      auto* out = reinterpret_cast<float*>(tile);
      for (int64_t d = 0; d < n; ++d) out[place.At(d)] = x[d];
      return;
    }
    case DType::kBF16: {
      auto* out = reinterpret_cast<uint16_t*>(tile);
      for (int64_t d = 0; d < n; ++d) out[place.At(d)] = Bf16Bits(x[d]);
      return;
    }
    case DType::kI8: {  // symmetric: |x - q scale| <= scale / 2 = max|x| / 254
      auto* out = reinterpret_cast<int8_t*>(tile);
      const float max_abs = MaxAbs(x, n);
      *scale = max_abs / 127.0f;
      const float inverse = max_abs > 0.0f ? 127.0f / max_abs : 0.0f;
      for (int64_t d = 0; d < n; ++d) {
        const float rounded = std::nearbyint(x[d] * inverse);
        out[place.At(d)] = static_cast<int8_t>(std::min(127.0f, std::max(-127.0f, rounded)));
      }
      return;
    }
  }
  KVFOLD_CHECK(false, "kv_dtype", DTypeName(layout.dtype));
}

}  // namespace

void FillRopeRow(int64_t position, std::span<const float> inv_freq, float* cos_sin) {
  const size_t n = inv_freq.size();
  for (size_t i = 0; i < n; ++i) {
    const double angle = static_cast<float>(position) * inv_freq[i];
    cos_sin[i] = static_cast<float>(std::cos(angle));
    cos_sin[n + i] = static_cast<float>(std::sin(angle));
  }
}

void RotateHead(float* head, const float* cos_sin, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float low = head[i];
    const float high = head[half + i];
    head[i] = low * cos_sin[i] - high * cos_sin[half + i];
    head[half + i] = high * cos_sin[i] + low * cos_sin[half + i];
  }
}

void FillSlotRope(std::span<const float> inv_freq, float* slot_rope) {
  const auto half = static_cast<int64_t>(inv_freq.size());
  std::vector<float> cos_sin(static_cast<size_t>(2 * half));
  for (int64_t t = 0; t < kBlockTokens; ++t) {
    FillRopeRow(t, inv_freq, cos_sin.data());
    for (int64_t i = 0; i < 2 * half; ++i)
      slot_rope[i * kBlockTokens + t] = cos_sin[static_cast<size_t>(i)];
  }
}

void SubtractKeyBias(const KvLayout& layout, std::byte* head, int64_t slot, const float* bias,
                     const float* block_rope, const float* slot_rope, float* key) {
  const int64_t half = layout.head_dim / 2;
  auto* const block_bias = reinterpret_cast<float*>(head + layout.key_bias_offset());
  for (int64_t i = 0; i < half; ++i) {
    const float low = bias[i] * block_rope[i] - bias[half + i] * block_rope[half + i];
    const float high = bias[half + i] * block_rope[i] + bias[i] * block_rope[half + i];
    if (slot == 0) {
      block_bias[i] = low;
      block_bias[half + i] = high;
    }
    const float cosine = slot_rope[i * kBlockTokens + slot];
    const float sine = slot_rope[(half + i) * kBlockTokens + slot];
    key[i] -= low * cosine - high * sine;
    key[half + i] -= high * cosine + low * sine;
  }
}

void AppendHead(const KvLayout& layout, std::byte* head, int64_t slot, const float* key,
                const float* value) {
  auto* k_scales = reinterpret_cast<float*>(head + layout.k_scales_offset());
  auto* v_scales = reinterpret_cast<float*>(head + layout.v_scales_offset());
  if (!AreFinite(key, layout.head_dim) || !AreFinite(value, layout.head_dim)) [[unlikely]] {
    FillElements(layout, head, KeyPlace(layout, slot), std::numeric_limits<float>::quiet_NaN(),
                 k_scales + slot);
    FillElements(layout, head + layout.tile_bytes(), ValuePlace(layout, slot), 0.0f,
                 v_scales + slot);
    return;
  }
  WriteElements(layout, head, KeyPlace(layout, slot), key, k_scales + slot);
  WriteElements(layout, head + layout.tile_bytes(), ValuePlace(layout, slot), value,
                v_scales + slot);
}

}  // namespace kvfold::cpu
