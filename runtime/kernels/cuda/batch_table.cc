#include "runtime/kernels/cuda/batch_table.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "comm/base/rounding.h"

namespace kvfold::cuda {
namespace {

constexpr int64_t kTableAlignmentBytes = 16;

int Int(int64_t value) {
  if (value < 0 || value > std::numeric_limits<int>::max()) {
    throw CapacityError(fmt::format(
        "a batch with the position or row {}: the CUDA kernels count to 2147483647", value));
  }
  return static_cast<int>(value);
}

}  // namespace

bool BatchTable::Describe(int64_t n_rows, const AttentionHeads& heads,
                          std::span<const SequenceRows> sequences, const BatchKind& kind) {
  next_groups_.clear();
  for (int64_t h = 0; h < heads.n_heads; ++h) {
    const int kv_head = heads.kv_head_of[static_cast<size_t>(h)];
    if (next_groups_.empty() || next_groups_.back().kv_head != kv_head) {
      next_groups_.push_back({Int(h), 0, kv_head});
    }
    ++next_groups_.back().n_heads;
  }
  next_sequences_.clear();
  next_blocks_.clear();
  for (const SequenceRows& rows : sequences) {
    const KvView& view = rows.view;
    KVFOLD_CHECK(rows.row_begin >= 0 && rows.n_tokens >= 0 &&
                     rows.row_begin + rows.n_tokens <= n_rows &&
                     view.end == view.begin + rows.n_tokens,
                 "row_begin", rows.row_begin, "n_tokens", rows.n_tokens, "rows", n_rows);
    Int(rows.n_tokens * heads.n_heads);
    Int(view.end + 2 * kBlockTokens);
    const int64_t window = std::min<int64_t>(view.window, std::numeric_limits<int>::max());
    next_sequences_.push_back({Int(rows.row_begin), Int(rows.n_tokens), Int(view.begin),
                               Int(window), Int(view.first_block),
                               Int(static_cast<int64_t>(next_blocks_.size()))});
    next_blocks_.insert(next_blocks_.end(), view.blocks.begin(), view.blocks.end());
  }
  const auto same = [](const BatchSequence& a, const BatchSequence& b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
  };
  if (described_ && kind == kind_ && n_rows == n_rows_ && next_groups_ == groups_ &&
      next_blocks_ == blocks_ && std::ranges::equal(next_sequences_, sequences_, same)) {
    return false;
  }
  described_ = true;
  kind_ = kind;
  n_rows_ = n_rows;
  groups_.swap(next_groups_);
  sequences_.swap(next_sequences_);
  blocks_.swap(next_blocks_);
  sequence_of_.assign(static_cast<size_t>(n_rows), -1);
  for (size_t i = 0; i < sequences_.size(); ++i) {
    std::fill_n(sequence_of_.begin() + sequences_[i].row_begin, sequences_[i].n_tokens,
                static_cast<int32_t>(i));
  }
  CutIntoItems(kind);
  return true;
}

void BatchTable::CutIntoItems(const BatchKind& kind) {
  items_.clear();
  merges_.clear();
  waves_.clear();
  std::vector<AttentionItem> few, many;
  int64_t partial_rows = 0;  // of this wave
  size_t merges_before = 0;
  const auto end_wave = [&] {
    if (few.empty() && many.empty()) return;
    AttentionWave wave;
    wave.few_begin = static_cast<int>(items_.size());
    wave.n_few = static_cast<int>(few.size());
    items_.insert(items_.end(), few.begin(), few.end());
    wave.many_begin = static_cast<int>(items_.size());
    wave.n_many = static_cast<int>(many.size());
    items_.insert(items_.end(), many.begin(), many.end());
    wave.merge_begin = static_cast<int>(merges_before);
    wave.n_merges = static_cast<int>(merges_.size() - merges_before);
    for (size_t i = merges_before; i < merges_.size(); ++i) {
      wave.most_merge_rows =
          std::max(wave.most_merge_rows, merges_[i].row_end - merges_[i].row_begin);
    }
    waves_.push_back(wave);
    few.clear();
    many.clear();
    partial_rows = 0;
    merges_before = merges_.size();
  };
  std::vector<AttentionItem> its_few, its_many;
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    if (sequences_[static_cast<size_t>(i)].n_tokens == 0) continue;
    // A sequence that finds no room beside the others is the first of the next wave.
    for (int attempt = 0; attempt < 2; ++attempt) {
      const size_t merges_now = merges_.size();
      int64_t rows = partial_rows;
      its_few.clear();
      its_many.clear();
      CutSequence(i, kind, its_few, its_many, &rows);
      if (rows <= kind.partial_rows) {
        partial_rows = rows;
        break;
      }
      KVFOLD_CHECK(partial_rows > 0, "partial rows", rows, "room", kind.partial_rows);
      merges_.resize(merges_now);
      end_wave();
    }
    few.insert(few.end(), its_few.begin(), its_few.end());
    many.insert(many.end(), its_many.begin(), its_many.end());
  }
  end_wave();
}

void BatchTable::CutSequence(int index, const BatchKind& kind, std::vector<AttentionItem>& few,
                             std::vector<AttentionItem>& many, int64_t* partial_rows) {
  const BatchSequence& sequence = sequences_[static_cast<size_t>(index)];
  int64_t row_tiles = 0;  // of all KV heads
  int64_t key_tiles = 0;
  for (const HeadGroup& group : groups_) {
    const int rows = sequence.n_tokens * group.n_heads;
    if (!kind.matrix) continue;
    const AttentionTiling tiling = ChooseTiling(kind.head_dim, rows, kind.int8);
    row_tiles += CeilDiv(rows, tiling.row_tile());
    const int last = sequence.begin + sequence.n_tokens - 1;
    const KeyRange of_last =
        KeyTilesOf(std::max(sequence.begin, last - tiling.row_tile() / group.n_heads), last,
                   sequence.window, tiling.key_tile);
    key_tiles = std::max<int64_t>(key_tiles, of_last.end - of_last.begin);
  }
  const int most_splits =
      kind.matrix ? ChooseSplits(row_tiles, key_tiles, kind.blocks_at_a_time) : 1;
  for (const HeadGroup& group : groups_) {
    const int rows = sequence.n_tokens * group.n_heads;
    const AttentionTiling tiling =
        kind.matrix ? ChooseTiling(kind.head_dim, rows, kind.int8) : AttentionTiling{};
    const int row_tile = kind.matrix ? tiling.row_tile() : kPlainRowTile;
    std::vector<AttentionItem>& items = kind.matrix && rows <= kFewRows ? few : many;
    // The last rows see the most keys: they start first, so that the blocks end together.
    for (int begin = (rows - 1) / row_tile * row_tile; begin >= 0; begin -= row_tile) {
      AttentionItem item;
      item.sequence = index;
      item.first_head = group.first_head;
      item.group = group.n_heads;
      item.kv_head = group.kv_head;
      item.row_begin = begin;
      item.row_end = std::min(rows, begin + row_tile);
      if (!kind.matrix) {
        items.push_back(item);
        continue;
      }
      const KeyRange tiles = KeyTilesOf(sequence.begin + begin / group.n_heads,
                                        sequence.begin + (item.row_end - 1) / group.n_heads,
                                        sequence.window, tiling.key_tile);
      const int n_splits = std::min(most_splits, tiles.end - tiles.begin);
      const int tile_rows = item.row_end - item.row_begin;
      if (n_splits > 1) {
        merges_.push_back({index, item.first_head, item.group, item.row_begin, item.row_end,
                           static_cast<int>(*partial_rows), n_splits, tile_rows});
      }
      for (int split = 0; split < n_splits; ++split) {
        const KeyRange part = SplitOf(tiles, n_splits, split);
        item.tile_begin = part.begin;
        item.tile_end = part.end;
        item.partial = n_splits > 1 ? static_cast<int>(*partial_rows) : -1;
        if (n_splits > 1) *partial_rows += tile_rows;
        items.push_back(item);
      }
    }
  }
}

BatchTable::Offsets BatchTable::offsets() const {
  Offsets at{};
  int64_t used = 0;
  const auto take = [&](size_t bytes) {
    const int64_t begin = used;
    used += RoundUp(static_cast<int64_t>(bytes), kTableAlignmentBytes);
    return begin;
  };
  at.sequences = take(sequences_.size() * sizeof(BatchSequence));
  at.blocks = take(blocks_.size() * sizeof(blocks_[0]));
  at.sequence_of = take(sequence_of_.size() * sizeof(int32_t));
  at.items = take(items_.size() * sizeof(AttentionItem));
  at.merges = take(merges_.size() * sizeof(MergeItem));
  at.end = used;
  return at;
}

void BatchTable::Write(std::byte* to) const {
  const Offsets at = offsets();
  const auto copy = [to](int64_t offset, const auto& values) {
    if (!values.empty()) {
      std::memcpy(to + offset, values.data(), values.size() * sizeof(values[0]));
    }
  };
  copy(at.sequences, sequences_);
  copy(at.blocks, blocks_);
  copy(at.sequence_of, sequence_of_);
  copy(at.items, items_);
  copy(at.merges, merges_);
}

int64_t MostPartialRows(int64_t head_dim, int64_t blocks_at_a_time) {
  if (!HasMatrixKernel(head_dim)) return 0;
  return MostPartialTiles(blocks_at_a_time) *
         ChooseTiling(head_dim, kFewRows + 1, false).row_tile();
}

}  // namespace kvfold::cuda
