#include "shard/shard_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <set>
#include <vector>

#include "comm/error.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

ModelConfig Config(int64_t n_heads, int64_t n_kv_heads, int64_t ffn_dim = 1536,
                   int64_t vocab_size = 49152) {
  ModelConfig config;
  config.layers.resize(2);
  config.hidden = n_heads * 64;
  config.n_heads = n_heads;
  config.n_kv_heads = n_kv_heads;
  config.head_dim = 64;
  config.ffn_dim = ffn_dim;
  config.vocab_size = vocab_size;
  return config;
}

struct Balance {
  int64_t largest = 0;
  int64_t smallest = 0;
  bool operator==(const Balance&) const = default;
};

// KV heads that query heads [begin, begin + count) attend to, head by head.
std::set<int64_t> KvHeadsOf(const ModelConfig& config, int64_t begin, int64_t count) {
  std::set<int64_t> kv_heads;
  for (int64_t head = begin; head < begin + count; ++head) {
    kv_heads.insert(head / (config.n_heads / config.n_kv_heads));
  }
  return kv_heads;
}

int64_t Cap(const ModelConfig& config, int64_t n_ranks) {
  return n_ranks >= config.n_kv_heads ? 1 : (config.n_kv_heads + n_ranks - 1) / n_ranks;
}

// The best balance under the cap, by writing down every deal. 2^(n_heads - 1) of them over all
// n_ranks.
Balance BestByEnumeration(const ModelConfig& config, int64_t n_ranks) {
  Balance best{config.n_heads + 1, 0};
  std::function<void(int64_t, int64_t, Balance)> deal = [&](int64_t rank, int64_t begin,
                                                            Balance so_far) {
    if (rank == n_ranks) {
      if (begin != config.n_heads) return;
      if (so_far.largest < best.largest ||
          (so_far.largest == best.largest && so_far.smallest > best.smallest)) {
        best = so_far;
      }
      return;
    }
    for (int64_t count = 1; begin + count <= config.n_heads; ++count) {
      if (static_cast<int64_t>(KvHeadsOf(config, begin, count).size()) > Cap(config, n_ranks))
        break;
      deal(rank + 1, begin + count,
           {std::max(so_far.largest, count), std::min(so_far.smallest, count)});
    }
  };
  deal(0, 0, {0, config.n_heads});
  return best;
}

// The same by value iteration from the last rank back: the least largest count of ranks [r,
// n_ranks) over heads [p, n_heads), then the greatest smallest count with no count above that.
Balance BestByValues(const ModelConfig& config, int64_t n_ranks) {
  constexpr int64_t kImpossible = std::numeric_limits<int64_t>::max();
  const int64_t n = config.n_heads;
  const auto solve = [&](int64_t most, bool maximise_smallest) {
    // Values of one rank and the next; kImpossible (or 0 for the smallest) where the heads cannot
    // be dealt.
    const int64_t none = maximise_smallest ? 0 : kImpossible;
    std::vector<int64_t> next(static_cast<size_t>(n + 1), none);
    next.back() = maximise_smallest ? kImpossible : 0;
    for (int64_t rank = n_ranks - 1; rank >= 0; --rank) {
      std::vector<int64_t> value(static_cast<size_t>(n + 1), none);
      for (int64_t p = 0; p < n; ++p) {
        for (int64_t count = 1; count <= std::min(most, n - p); ++count) {
          if (static_cast<int64_t>(KvHeadsOf(config, p, count).size()) > Cap(config, n_ranks))
            break;
          const int64_t rest = next[static_cast<size_t>(p + count)];
          int64_t& here = value[static_cast<size_t>(p)];
          here = maximise_smallest ? std::max(here, std::min(count, rest))
                                   : std::min(here, std::max(count, rest));
        }
      }
      next = value;
    }
    return next[0];
  };
  const int64_t largest = solve(n, false);
  return {largest, solve(largest, true)};
}

struct Heads {
  int64_t query, kv;
};
class ShardPlanTest : public testing::TestWithParam<Heads> {};

TEST_P(ShardPlanTest, DealsHeadsOnceUnderTheCapAndInBalanceOnEveryNumberOfRanks) {
  const ModelConfig config = Config(GetParam().query, GetParam().kv);
  for (int n_ranks = 1; n_ranks <= config.n_heads; ++n_ranks) {
    SCOPED_TRACE(testing::Message() << n_ranks << " ranks");
    const ShardPlan plan(config, n_ranks);
    ASSERT_EQ(plan.tp_size(), n_ranks);
    int64_t next_head = 0;
    Balance balance{0, config.n_heads};
    for (int rank = 0; rank < n_ranks; ++rank) {
      const RankShard& shard = plan.rank(rank);
      ASSERT_EQ(shard.query_heads.begin, next_head);
      ASSERT_GT(shard.query_heads.size(), 0);
      next_head = shard.query_heads.end;
      const std::set<int64_t> kv_heads =
          KvHeadsOf(config, shard.query_heads.begin, shard.query_heads.size());
      EXPECT_EQ(shard.kv_heads, (Range{*kv_heads.begin(), *kv_heads.rbegin() + 1}));
      EXPECT_LE(shard.kv_heads.size(), Cap(config, n_ranks));
      balance.largest = std::max(balance.largest, shard.query_heads.size());
      balance.smallest = std::min(balance.smallest, shard.query_heads.size());
    }
    EXPECT_EQ(next_head, config.n_heads);
    EXPECT_EQ(balance, BestByValues(config, n_ranks))
        << balance.largest << " and " << balance.smallest;
    if (config.n_heads <= 16) {
      EXPECT_EQ(balance, BestByEnumeration(config, n_ranks));
    }
    const double mean = static_cast<double>(config.n_heads) / n_ranks;
    EXPECT_DOUBLE_EQ(plan.head_imbalance(), static_cast<double>(balance.largest) / mean);
    EXPECT_GE(plan.head_imbalance(), 1.0);
    const ShardPlan again(config, n_ranks);
    for (int rank = 0; rank < n_ranks; ++rank) {
      EXPECT_EQ(again.rank(rank).query_heads, plan.rank(rank).query_heads);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ShardPlanTest,
                         testing::Values(Heads{9, 3}, Heads{32, 8}, Heads{64, 8}, Heads{28, 4},
                                         Heads{16, 16}, Heads{8, 1}, Heads{1, 1}, Heads{12, 4},
                                         Heads{15, 5}),
                         [](const auto& param_info) {
                           return std::to_string(param_info.param.query) + "_over_" +
                                  std::to_string(param_info.param.kv);
                         });

TEST(ShardPlanExampleTest, NineHeadsOverThreeOnTwoRanksShareTheMiddleKvHead) {
  const ShardPlan plan(Config(9, 3), 2);
  EXPECT_EQ(plan.rank(0).query_heads, (Range{0, 5}));
  EXPECT_EQ(plan.rank(1).query_heads, (Range{5, 9}));
  EXPECT_EQ(plan.rank(0).kv_heads, (Range{0, 2}));
  EXPECT_EQ(plan.rank(1).kv_heads, (Range{1, 3}));
  EXPECT_DOUBLE_EQ(plan.head_imbalance(), 5 / 4.5);
}

TEST(ShardPlanExampleTest, EvenShares) {
  const ShardPlan plan(Config(64, 8, 28672, 128256), 8);
  for (int rank = 0; rank < 8; ++rank) {
    EXPECT_EQ(plan.rank(rank).query_heads, (Range{rank * 8, rank * 8 + 8}));
    EXPECT_EQ(plan.rank(rank).kv_heads, (Range{rank, rank + 1}));
    EXPECT_EQ(plan.rank(rank).ffn_cols, (Range{rank * 3584, rank * 3584 + 3584}));
    // 2004 units of 64 rows: 251 for the first four ranks, 250 for the others.
    EXPECT_EQ(plan.rank(rank).vocab_rows.size(), rank < 4 ? 16064 : 16000);
  }
  EXPECT_EQ(plan.padded_vocab_rows(), 16064);
  EXPECT_DOUBLE_EQ(plan.head_imbalance(), 1.0);
}

TEST(ShardPlanExampleTest, ManyHeadsAreDealtAtOnce) {
  const ModelConfig config = Config(128, 8);
  for (int n_ranks = 1; n_ranks <= 128; ++n_ranks) {
    EXPECT_EQ(ShardPlan(config, n_ranks).rank(n_ranks - 1).query_heads.end, 128);
  }
}

TEST(ShardPlanUnitsTest, ColumnsAndRowsAreCoveredOnceInUnitsOf64) {
  for (const int64_t total : {1, 63, 64, 65, 127, 128, 129, 320, 1536, 1537, 18944}) {
    const ModelConfig config = Config(16, 4, total, total + 1);
    for (int n_ranks = 1; n_ranks <= 16; ++n_ranks) {
      SCOPED_TRACE(testing::Message() << total << " on " << n_ranks << " ranks");
      const ShardPlan plan(config, n_ranks);
      int64_t most_rows = 0;
      for (const auto& [range_of, n] :
           {std::pair{&RankShard::ffn_cols, total}, std::pair{&RankShard::vocab_rows, total + 1}}) {
        int64_t next = 0;
        int64_t previous_units = std::numeric_limits<int64_t>::max();
        int64_t first_units = 0;
        for (int rank = 0; rank < n_ranks; ++rank) {
          const Range range = plan.rank(rank).*range_of;
          ASSERT_EQ(range.begin, next);
          ASSERT_GE(range.size(), 0);
          ASSERT_LE(range.end, n);
          next = range.end;
          EXPECT_TRUE(range.end == n || range.end % 64 == 0);
          const int64_t units = (range.size() + 63) / 64;
          EXPECT_LE(units, previous_units);  // earlier ranks first
          previous_units = units;
          if (rank == 0) first_units = units;
          EXPECT_LE(first_units - units, 1);
          if (range_of == &RankShard::vocab_rows) most_rows = std::max(most_rows, range.size());
        }
        EXPECT_EQ(next, n);
      }
      EXPECT_EQ(plan.padded_vocab_rows(), most_rows);
    }
  }
}

TEST(ShardPlanUnitsTest, RanksWithoutUnitsHaveEmptyRanges) {
  const ShardPlan plan(Config(4, 2, 65, 64), 4);
  EXPECT_EQ(plan.rank(0).ffn_cols, (Range{0, 64}));
  EXPECT_EQ(plan.rank(1).ffn_cols, (Range{64, 65}));
  EXPECT_EQ(plan.rank(2).ffn_cols, (Range{65, 65}));
  EXPECT_EQ(plan.rank(3).ffn_cols, (Range{65, 65}));
  EXPECT_EQ(plan.rank(0).vocab_rows, (Range{0, 64}));
  EXPECT_EQ(plan.rank(3).vocab_rows, (Range{64, 64}));
}

TEST(ShardPlanErrorTest, ImpossibleNumbersNameTheLargestPossible) {
  const ModelConfig config = Config(9, 3);
  for (const int n_ranks :
       {std::numeric_limits<int>::min(), -1, 0, 10, std::numeric_limits<int>::max()}) {
    try {
      const ShardPlan plan(config, n_ranks);
      ADD_FAILURE() << n_ranks;
    } catch (const InputError& e) {
      EXPECT_THAT(e.what(), HasSubstr(fmt::format("to {} ranks", n_ranks)));
      EXPECT_THAT(e.what(), HasSubstr("the largest possible number of ranks is 9"));
    }
  }
}

}  // namespace
}  // namespace kvfold
