#include "shard/shard_plan.h"

#include <algorithm>

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "models/tensor_table.h"

namespace kvfold {
namespace {

// Deals n_heads query heads in contiguous ranges of `smallest` to `largest` heads that touch at
// most `kv_cap` KV heads each. can_finish_[r][p]: ranks [r, n_ranks) can take exactly the heads [p,
// n_heads).
class HeadDeal {
 public:
  HeadDeal(const ModelConfig& config, int64_t n_ranks)
      : n_heads_(config.n_heads),
        group_size_(config.group_size()),
        n_ranks_(n_ranks),
        kv_cap_(CeilDiv(config.n_kv_heads, n_ranks)),
        can_finish_(static_cast<size_t>(n_ranks + 1),
                    std::vector<char>(static_cast<size_t>(n_heads_ + 1))) {}

  // Every rank's count of heads.
  std::vector<int64_t> Counts() {
    int64_t largest = CeilDiv(n_heads_, n_ranks_);
    while (!CanDeal(1, largest)) ++largest;  // at n_heads at the latest: see below
    int64_t smallest = n_heads_ / n_ranks_;
    while (!CanDeal(smallest, largest)) --smallest;  // at 1 at the latest, as just found
    // CanDeal has left the table of these bounds; of the deals that it allows, earlier ranks take
    // as much as they can.
    std::vector<int64_t> counts;
    int64_t position = 0;
    for (int64_t rank = 0; rank < n_ranks_; ++rank) {
      int64_t count = LargestCount(position, largest);
      while (!CanFinish(rank + 1, position + count)) --count;
      counts.push_back(count);
      position += count;
    }
    return counts;
  }

 private:
  char& CanFinish(int64_t rank, int64_t position) {
    return can_finish_[static_cast<size_t>(rank)][static_cast<size_t>(position)];
  }
  // Of a range that begins at `position`: bounded by the end of the last KV head that it may touch.
  int64_t LargestCount(int64_t position, int64_t largest) const {
    const int64_t end = (position / group_size_ + kv_cap_) * group_size_;
    return std::min(largest, std::min(end, n_heads_) - position);
  }

  // There always is a deal with smallest = 1 and largest = n_heads: with fewer ranks than KV heads,
  // whole KV heads, at most kv_cap a rank; otherwise every KV head has its own ranks, one at least
  // and one a query head at most.
  bool CanDeal(int64_t smallest, int64_t largest) {
    for (int64_t p = 0; p <= n_heads_; ++p) CanFinish(n_ranks_, p) = p == n_heads_;
    std::vector<int64_t> finishing(
        static_cast<size_t>(n_heads_ + 2));  // positions before p that can finish
    for (int64_t rank = n_ranks_ - 1; rank >= 0; --rank) {
      for (int64_t p = 0; p <= n_heads_; ++p) {
        finishing[static_cast<size_t>(p + 1)] =
            finishing[static_cast<size_t>(p)] + CanFinish(rank + 1, p);
      }
      for (int64_t p = 0; p <= n_heads_; ++p) {
        const int64_t low = p + smallest;
        const int64_t high = p + LargestCount(p, largest);
        CanFinish(rank, p) = low <= high && finishing[static_cast<size_t>(high + 1)] >
                                                finishing[static_cast<size_t>(low)];
      }
    }
    return CanFinish(0, 0);
  }

  int64_t n_heads_, group_size_, n_ranks_, kv_cap_;
  std::vector<std::vector<char>> can_finish_;
};

// Share `rank` of a dimension in whole units; counts of units differ by one at most,
// earlier ranks have more.
Range DealUnits(const ModelConfig& config, TensorDim dim, int64_t rank, int64_t n_ranks) {
  const int64_t total = DimSize(config, dim);
  const int64_t unit = CutUnit(config, dim);
  const int64_t units = CeilDiv(total, unit);
  const auto begin = [&](int64_t r) {
    return std::min(total, unit * (r * (units / n_ranks) + std::min(r, units % n_ranks)));
  };
  return {begin(rank), begin(rank + 1)};
}

}  // namespace

ShardPlan::ShardPlan(const ModelConfig& config, int tp_size) {
  KVFOLD_CHECK(config.n_kv_heads > 0 && config.n_heads >= config.n_kv_heads &&
                   config.n_heads % config.n_kv_heads == 0,
               "n_heads", config.n_heads, "n_kv_heads", config.n_kv_heads);
  if (tp_size < 1 || tp_size > config.n_heads) {
    throw InputError(
        fmt::format("the model cannot be dealt to {} ranks: every rank takes at least one of its "
                    "{} query heads, so the largest possible "
                    "number of ranks is {} and the smallest is 1",
                    tp_size, config.n_heads, config.n_heads));
  }
  const std::vector<int64_t> counts = HeadDeal(config, tp_size).Counts();
  int64_t head = 0;
  for (int rank = 0; rank < tp_size; ++rank) {
    RankShard shard;
    shard.query_heads = {head, head + counts[static_cast<size_t>(rank)]};
    shard.kv_heads = {head / config.group_size(),
                      CeilDiv(shard.query_heads.end, config.group_size())};
    shard.ffn_cols = DealUnits(config, TensorDim::kFfn, rank, tp_size);
    shard.vocab_rows = DealUnits(config, TensorDim::kVocab, rank, tp_size);
    padded_vocab_rows_ = std::max(padded_vocab_rows_, shard.vocab_rows.size());
    head = shard.query_heads.end;
    ranks_.push_back(shard);
  }
}

double ShardPlan::head_imbalance() const {
  int64_t largest = 0;
  for (const RankShard& shard : ranks_) largest = std::max(largest, shard.query_heads.size());
  const double mean =
      static_cast<double>(ranks_.back().query_heads.end) / static_cast<double>(tp_size());
  return static_cast<double>(largest) / mean;
}

}  // namespace kvfold
