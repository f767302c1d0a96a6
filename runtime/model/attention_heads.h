// runtime/model/attention_heads.h: the heads of one rank as kernels take them.
#pragma once

#include <vector>

#include "models/model_config.h"
#include "runtime/kernels/kernels.h"
#include "shard/shard_plan.h"

namespace kvfold {

// Owns the table behind an AttentionHeads view.
class RankHeads {
 public:
  RankHeads(const ModelConfig& config, const RankShard& shard) {
    for (int64_t head = shard.query_heads.begin; head < shard.query_heads.end; ++head) {
      kv_head_of_.push_back(
          static_cast<int32_t>(head / config.group_size() - shard.kv_heads.begin));
    }
    view_.n_heads = shard.query_heads.size();
    view_.n_kv_heads = shard.kv_heads.size();
    view_.head_dim = config.head_dim;
    view_.softmax_scale = static_cast<float>(config.softmax_scale());
    view_.score_cap = static_cast<float>(config.score_cap);
  }
  // Borrowed from this object.
  AttentionHeads view() const {
    AttentionHeads heads = view_;
    heads.kv_head_of = kv_head_of_;
    return heads;
  }

 private:
  AttentionHeads view_;
  std::vector<int32_t> kv_head_of_;
};

}  // namespace kvfold
