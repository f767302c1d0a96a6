// A ragged batch cut into items: every row over every key that it sees, once; partial results where
// no other lies; a sequence's cut its own.
#include "runtime/kernels/cuda/batch_table.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "comm/device/cpu_device.h"

namespace kvfold::cuda {
namespace {

// Sequences over made-up blocks: nothing reads them.
struct Batch {
  std::vector<int32_t> kv_head_of;
  std::vector<std::vector<std::byte*>> blocks;
  std::vector<SequenceRows> sequences;
  int64_t rows = 0;

  void Add(int64_t prefix, int64_t n_tokens, int64_t window) {
    KvView view;
    view.begin = prefix;
    view.end = prefix + n_tokens;
    view.window = window;
    view.first_block =
        window > 0 ? std::max<int64_t>(0, prefix - window + 1) / kBlockTokens : int64_t{0};
    const int64_t n = (view.end + kBlockTokens - 1) / kBlockTokens - view.first_block;
    blocks.push_back({});
    for (int64_t i = 0; i < n; ++i) {
      blocks.back().push_back(
          reinterpret_cast<std::byte*>((blocks.size() * 10000 + static_cast<size_t>(i)) * 64));
    }
    view.blocks = blocks.back();
    sequences.push_back({rows, n_tokens, view});
    rows += n_tokens;
  }
  AttentionHeads heads() const {
    return {static_cast<int64_t>(kv_head_of.size()), kv_head_of.back() + 1, 128, kv_head_of, 1.0f};
  }
};

BatchKind KindFor(bool matrix, bool int8, int64_t blocks_at_a_time) {
  return {128, matrix, int8, blocks_at_a_time, matrix ? MostPartialRows(128, blocks_at_a_time) : 0};
}

void ExpectCovers(const Batch& batch, const BatchTable& table, const BatchKind& kind) {
  using Row = std::tuple<int, int, int>;  // sequence, first head, packed row
  std::map<Row, int> next_tile;           // where the next split has to begin
  std::map<Row, int> parts;
  int n_items = 0, n_merges = 0;
  for (const AttentionWave& wave : table.waves()) {
    std::vector<int> taken(static_cast<size_t>(kind.partial_rows), 0);
    std::map<int, Row> at;  // partial row -> whose
    for (int i = 0; i < wave.n_few + wave.n_many; ++i) {
      const bool few = i < wave.n_few;
      const AttentionItem& item = table.items()[static_cast<size_t>(
          few ? wave.few_begin + i : wave.many_begin + i - wave.n_few)];
      ++n_items;
      const BatchSequence& s = table.sequences()[static_cast<size_t>(item.sequence)];
      const int rows = s.n_tokens * item.group;
      ASSERT_EQ(few, kind.matrix && rows <= kFewRows);
      const int key_tile = kind.matrix ? ChooseTiling(128, rows, kind.int8).key_tile : 0;
      ASSERT_LE(item.row_end - item.row_begin,
                kind.matrix ? ChooseTiling(128, rows, kind.int8).row_tile() : kPlainRowTile);
      for (int row = item.row_begin; row < item.row_end; ++row) {
        const Row key{item.sequence, item.first_head, row};
        if (!kind.matrix) {
          ASSERT_EQ(++parts[key], 1);
          continue;
        }
        const KeyRange seen = VisibleKeys(s.begin + row / item.group, s.window);
        if (parts[key]++ == 0) {
          ASSERT_LE(item.tile_begin * key_tile, seen.begin);
        } else {
          ASSERT_EQ(item.tile_begin, next_tile[key]);
        }
        ASSERT_LT(item.tile_begin, item.tile_end);
        // Blocks of the table hold it all.
        ASSERT_GE(item.tile_begin * key_tile / kBlockTokens, s.first_block);
        next_tile[key] = item.tile_end;
        if (item.partial >= 0) {
          const int place = item.partial + row - item.row_begin;
          ASSERT_LT(place, kind.partial_rows);
          ASSERT_EQ(taken[static_cast<size_t>(place)]++, 0);
          at[place] = key;
        } else {
          ASSERT_GE(item.tile_end * key_tile, seen.end);
        }
      }
    }
    for (int i = 0; i < wave.n_merges; ++i) {
      const MergeItem& merge = table.merges()[static_cast<size_t>(wave.merge_begin + i)];
      ++n_merges;
      ASSERT_LE(merge.row_end - merge.row_begin, wave.most_merge_rows);
      for (int row = merge.row_begin; row < merge.row_end; ++row) {
        const Row key{merge.sequence, merge.first_head, row};
        ASSERT_EQ(parts[key], merge.n_splits);
        for (int split = 0; split < merge.n_splits; ++split) {
          const int place = merge.partial + row - merge.row_begin + split * merge.split_rows;
          ASSERT_TRUE(at.contains(place) && at[place] == key);
          at.erase(place);
        }
      }
    }
    ASSERT_TRUE(at.empty());  // all that is left in the scratch is merged
  }
  EXPECT_EQ(n_items, static_cast<int>(table.items().size()));
  EXPECT_EQ(n_merges, static_cast<int>(table.merges().size()));
  size_t rows = 0;
  for (const SequenceRows& sequence : batch.sequences) {
    rows += static_cast<size_t>(sequence.n_tokens) * batch.kv_head_of.size();
  }
  EXPECT_EQ(parts.size(), rows);
}

TEST(BatchTableTest, EveryRowSeesItsKeysOnce) {
  std::mt19937 random(1);
  const auto any = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    Batch batch;
    batch.kv_head_of = round % 3 == 0   ? std::vector<int32_t>{0, 0, 0, 1}
                       : round % 3 == 1 ? std::vector<int32_t>{0, 0, 0, 0, 0, 0, 0, 0, 1}
                                        : std::vector<int32_t>{0};
    const int64_t window = round % 2 == 0 ? 0 : any(1, 700);
    const int n = any(1, 12);
    for (int i = 0; i < n; ++i) {
      batch.Add(any(0, 1) * any(0, 9000), any(0, 3) == 0 ? any(0, 300) : any(0, 4), window);
    }
    const BatchKind kind = KindFor(round % 5 != 4, round % 2 == 1, round % 7 == 0 ? 264 : 8);
    BatchTable table;
    EXPECT_TRUE(table.Describe(batch.rows, batch.heads(), batch.sequences, kind));
    ASSERT_NO_FATAL_FAILURE(ExpectCovers(batch, table, kind));
    EXPECT_FALSE(table.Describe(batch.rows, batch.heads(), batch.sequences, kind));

    // By row, its sequence.
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      for (int64_t t = 0; t < batch.sequences[i].n_tokens; ++t) {
        ASSERT_EQ(table.sequence_of()[static_cast<size_t>(batch.sequences[i].row_begin + t)],
                  static_cast<int32_t>(i));
      }
    }
  }
}

TEST(BatchTableTest, SeesThatABlockIsAnother) {
  Batch batch;
  batch.kv_head_of = {0};
  batch.Add(300, 2, 0);
  BatchTable table;
  const BatchKind kind = KindFor(true, false, 8);
  EXPECT_TRUE(table.Describe(2, batch.heads(), batch.sequences, kind));
  batch.blocks[0][1] += 64;
  EXPECT_TRUE(table.Describe(2, batch.heads(), batch.sequences, kind));
  EXPECT_EQ(table.blocks()[1], batch.blocks[0][1]);
  EXPECT_TRUE(table.Describe(2, batch.heads(), batch.sequences, KindFor(true, true, 8)));
}

TEST(BatchTableTest, ASequencesSplitsAreItsOwn) {
  const auto splits_of = [](const BatchTable& table, int sequence) {
    std::vector<std::array<int, 5>> splits;
    for (const AttentionItem& item : table.items()) {
      if (item.sequence == sequence) {
        splits.push_back(
            {item.first_head, item.row_begin, item.row_end, item.tile_begin, item.tile_end});
      }
    }
    return splits;
  };
  const BatchKind kind = KindFor(true, false, 16);
  Batch alone, beside;
  alone.kv_head_of = beside.kv_head_of = {0, 0, 1, 1};
  alone.Add(5000, 3, 0);
  beside.Add(5000, 3, 0);
  for (int i = 0; i < 20; ++i) beside.Add(4000 + i, 1 + i % 3, 0);
  BatchTable one, many;
  one.Describe(alone.rows, alone.heads(), alone.sequences, kind);
  many.Describe(beside.rows, beside.heads(), beside.sequences, kind);
  EXPECT_GT(splits_of(one, 0).size(), 2u);
  EXPECT_EQ(splits_of(one, 0), splits_of(many, 0));
}

TEST(BatchTableTest, RefusesPositionsBeyondItsNumbers) {
  Batch batch;
  batch.kv_head_of = {0};
  batch.Add(0, 1, 0);
  batch.sequences[0].view.begin = int64_t{1} << 31;
  batch.sequences[0].view.end = batch.sequences[0].view.begin + 1;
  BatchTable table;
  EXPECT_THROW(table.Describe(1, batch.heads(), batch.sequences, KindFor(true, false, 8)),
               CapacityError);
}

}  // namespace
}  // namespace kvfold::cuda
