// Keys put together from int8 and a bias for products in pairs of bf16, on any processor: where
// bf16 products are not native no kernel of the conformance suite reads that layout.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#define KVFOLD_SIMD_BYTES 16
#define KVFOLD_SIMD_BF16 0
#include "runtime/kernels/cpu/simd/attention.h"
#include "shard/kv_layout.h"
#include "tests/runtime/kernels/reference.h"

namespace kvfold {
namespace {

TEST(BiasedKeysTest, PairsOfBf16AreWhatTheLayoutSays) {
  for (const int64_t head_dim : {2, 6, 64, 80}) {
    const KvLayout layout{GroupLayers({0}), 1, head_dim, DType::kI8, 2, true};
    std::mt19937_64 random(static_cast<uint64_t>(head_dim));
    const int64_t half = head_dim / 2;
    const auto n = static_cast<size_t>(head_dim * kBlockTokens);
    std::vector<std::byte> tile(n);
    for (std::byte& x : tile) x = static_cast<std::byte>(random() % 255 - 127);
    const std::vector<float> bias = Normals(random, head_dim, 100.0f);
    std::vector<float> scales(kBlockTokens), slot_rope(n);
    for (float& scale : scales) scale = 0.001f * static_cast<float>(random() % 1000);
    const auto angle = [&](int64_t t, int64_t i) {
      return static_cast<double>(t) * std::pow(10000.0, -static_cast<double>(i) / half);
    };
    for (int64_t i = 0; i < half; ++i) {
      for (int64_t t = 0; t < kBlockTokens; ++t) {
        slot_rope[static_cast<size_t>(i * kBlockTokens + t)] =
            static_cast<float>(std::cos(angle(t, i)));
        slot_rope[static_cast<size_t>((half + i) * kBlockTokens + t)] =
            static_cast<float>(std::sin(angle(t, i)));
      }
    }
    std::vector<uint16_t> out(n);
    cpu::BiasedKeys(tile.data(), scales.data(), bias.data(), slot_rope.data(), head_dim,
                    out.data());
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      for (int64_t d = 0; d < head_dim; ++d) {
        const auto at = static_cast<size_t>(layout.KeyElement(t, d));
        const double along = bias[static_cast<size_t>(d)] * std::cos(angle(t, d % half));
        const double across = bias[static_cast<size_t>(d < half ? d + half : d - half)] *
                              std::sin(angle(t, d % half));
        const double element =
            static_cast<double>(static_cast<int8_t>(tile[at])) * scales[static_cast<size_t>(t)];
        const double want = element + (d < half ? along - across : along + across);
        // Five roundings of f32 of parts no larger than these, then one to bf16.
        const double error =
            7 * kRoundoffF32 * (std::abs(element) + std::abs(along) + std::abs(across));
        ASSERT_LE(std::abs(FromBf16Bits(out[at]) - want),
                  error + StoreError(DType::kBF16, want, error))
            << "head_dim " << head_dim << ", place " << t << ", dim " << d;
      }
    }
  }
}

}  // namespace
}  // namespace kvfold
