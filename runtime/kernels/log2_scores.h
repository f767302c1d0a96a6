// runtime/kernels/log2_scores.h: scores as kernels hold them, so that exponentials are powers of
// two: exp(score) = 2^(scale q.k), or where scores are capped 2^(cap tanh(scale q.k)).
#pragma once

#include <numbers>

#include "runtime/kernels/kernels.h"

namespace kvfold {

struct Log2Scores {
  float scale = 0.0f;
  float cap = 0.0f;  // 0: none
};

inline Log2Scores InLog2(const AttentionHeads& heads) {
  constexpr float kLog2E = std::numbers::log2e_v<float>;
  if (heads.score_cap == 0.0f) return {heads.softmax_scale * kLog2E, 0.0f};
  return {heads.softmax_scale / heads.score_cap, heads.score_cap * kLog2E};
}

}  // namespace kvfold
