// shard/shard_plan.h: who holds what. Pure arithmetic over a ModelConfig and a number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model_config.h"

namespace kvfold {

struct Range {  // half open
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

struct RankShard {
  Range query_heads;
  Range kv_heads;    // those that the query heads attend to; neighbours may hold the same one
  Range ffn_cols;    // in units of 64, the last unit may be short
  Range vocab_rows;  // likewise
};

class ShardPlan {
 public:
  // Deals contiguous query heads so that no rank touches more than ceil(n_kv_heads / tp_size) KV
  // heads (one where tp_size >= n_kv_heads); under that cap the largest count of query heads is as
  // small as it can be, then the smallest as large. Throws InputError naming the largest possible
  // tp_size where tp_size is not in [1, n_heads].
  ShardPlan(const ModelConfig& config, int tp_size);

  int tp_size() const { return static_cast<int>(ranks_.size()); }
  const RankShard& rank(int tp_rank) const { return ranks_.at(static_cast<size_t>(tp_rank)); }
  // max over ranks of vocab_rows.size(): what a shard of logits is padded to for an all-gather.
  int64_t padded_vocab_rows() const { return padded_vocab_rows_; }
  // Largest share of query heads over the mean share, >= 1: the factor by which the slowest rank's
  // attention is behind.
  double head_imbalance() const;

 private:
  std::vector<RankShard> ranks_;
  int64_t padded_vocab_rows_ = 0;
};

}  // namespace kvfold
