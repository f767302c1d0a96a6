#include "runtime/kernels/cpu/cpu_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "comm/base/rounding.h"
#include "runtime/kernels/log2_scores.h"

namespace kvfold::cpu {
namespace {

// A head group of at most this many rows is split over spans of keys: spans of kSplitKeys, and
// longer ones where there would be more than kMaxSplits. The rule looks at the sequence alone, so
// that its result does not depend on threads or on what rides beside it.
constexpr int64_t kSplitRows = 16;
constexpr int64_t kSplitKeys = 1024;
constexpr int64_t kMaxSplits = 64;
constexpr int64_t kItemsPerThread = 3;
static_assert(kSplitKeys % kBlockTokens == 0);

int64_t PartialFloats(int64_t rows, int64_t head_dim) { return rows * (head_dim + 2); }

// Keys [begin, end) cut at multiples of span_keys.
struct Spans {
  int64_t span_keys;
  int64_t first;
  int64_t count;
};
Spans SpansOf(int64_t begin, int64_t end) {
  const int64_t least = CeilDiv(end - begin, kMaxSplits);
  const int64_t span_keys = std::max(kSplitKeys, RoundUp(least, kBlockTokens));
  const int64_t first = begin / span_keys;
  return {span_keys, first, CeilDiv(end, span_keys) - first};
}

int64_t OldestSeen(const KvView& view) {
  return view.window > 0 ? std::max<int64_t>(0, view.begin - view.window + 1) : 0;
}

}  // namespace

int64_t CpuAttention::ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const {
  // Row tiles reuse the workers' scratch. A window that does not start at a span's edge has a span
  // more.
  const int64_t splits = max_sequences * (kMaxSplits + 1) * heads.n_kv_heads;
  const int64_t partials = splits * PartialFloats(kSplitRows, heads.head_dim) * 4;
  return pool_.size() * AttentionScratchBytes(heads.head_dim) + RoundUp(partials, kAlignmentBytes);
}

AttentionArgs CpuAttention::Arguments(ConstTensorView qkv, const AttentionHeads& heads,
                                      const SequenceRows& sequence, const HeadGroup& group,
                                      TensorView out, float* log_sum_exp) const {
  const KvLayout& layout = *sequence.view.layout;
  AttentionArgs args;
  args.q = reinterpret_cast<const float*>(qkv.Row(sequence.row_begin)) +
           group.first_head * heads.head_dim;
  args.q_stride = qkv.stride;
  args.group = group.n_heads;
  args.row_begin = 0;
  args.row_end = group.n_heads * sequence.n_tokens;
  args.head_dim = heads.head_dim;
  args.first_position = sequence.view.begin;
  args.window = sequence.view.window;
  const Log2Scores scores = InLog2(heads);
  args.score_scale = scores.scale;
  args.score_cap = scores.cap;
  args.blocks = sequence.view.blocks.data();
  args.first_block = sequence.view.first_block;
  args.head_offset_bytes = sequence.view.layer_offset_bytes + group.kv_head * layout.head_bytes();
  args.tile_bytes = layout.tile_bytes();
  args.key_begin = OldestSeen(sequence.view);
  args.key_end = sequence.view.end;
  args.kv_dtype = layout.dtype;
  args.slot_rope = layout.has_key_bias ? heads.slot_rope : nullptr;
  args.out =
      out.Row(sequence.row_begin) + group.first_head * heads.head_dim * DTypeBytes(out.dtype);
  args.out_dtype = out.dtype;
  args.out_stride = out.stride;
  if (log_sum_exp != nullptr) {
    args.lse = log_sum_exp + sequence.row_begin * heads.n_heads + group.first_head;
    args.lse_stride = heads.n_heads;
  }
  return args;
}

void CpuAttention::Run(ConstTensorView qkv, const AttentionHeads& heads,
                       std::span<const SequenceRows> sequences, std::span<std::byte> scratch,
                       TensorView out, float* log_sum_exp) {
  groups_.clear();
  for (int64_t h = 0; h < heads.n_heads; ++h) {
    const int64_t kv_head = heads.kv_head_of[static_cast<size_t>(h)];
    if (groups_.empty() || groups_.back().kv_head != kv_head) groups_.push_back({h, 0, kv_head});
    ++groups_.back().n_heads;
  }

  const int64_t worker_bytes = AttentionScratchBytes(heads.head_dim);
  KVFOLD_CHECK(static_cast<int64_t>(scratch.size()) >= pool_.size() * worker_bytes, "scratch",
               scratch.size());
  auto* partials = reinterpret_cast<float*>(scratch.data() + pool_.size() * worker_bytes);
  const auto* partials_end = reinterpret_cast<const float*>(scratch.data() + scratch.size());
  items_.clear();
  merges_.clear();
  // Rows of one item: as many as share a block's conversion well, yet a few items for every thread.
  int64_t all_rows = 0;
  for (const SequenceRows& sequence : sequences) all_rows += sequence.n_tokens * heads.n_heads;
  const int64_t fair_rows = all_rows / (kItemsPerThread * pool_.size());
  const int64_t row_tile = std::clamp(fair_rows / kSubTile * kSubTile, kSubTile, kRowTile);
  const KvLayout* layout = nullptr;
  for (const SequenceRows& sequence : sequences) {
    if (sequence.n_tokens == 0) continue;
    layout = sequence.view.layout;
    KVFOLD_CHECK(!layout->has_key_bias || (heads.slot_rope != nullptr && heads.score_cap == 0.0f),
                 "score_cap", heads.score_cap);
    for (const HeadGroup& group : groups_) {
      const AttentionArgs args = Arguments(qkv, heads, sequence, group, out, log_sum_exp);
      const Spans spans = SpansOf(args.key_begin, args.key_end);
      if (args.row_end <= kSplitRows && spans.count > 1) {
        Merge merge{args, spans.count};
        merge.args.partial = partials;
        merges_.push_back(merge);
        for (int64_t span = 0; span < spans.count; ++span) {
          Item item{args};
          const int64_t first = (spans.first + span) * spans.span_keys;
          item.args.key_begin = std::max(args.key_begin, first);
          item.args.key_end = std::min(args.key_end, first + spans.span_keys);
          item.args.partial = partials;
          items_.push_back(item);
          partials += PartialFloats(args.row_end, heads.head_dim);
        }
        continue;
      }
      // The last rows see the most keys: they start first, so that the threads end together.
      const int64_t n_tiles = CeilDiv(args.row_end, row_tile);
      for (int64_t tile = n_tiles; tile-- > 0;) {
        Item item{args};
        item.args.row_begin = tile * row_tile;
        item.args.row_end = std::min(args.row_end, item.args.row_begin + row_tile);
        items_.push_back(item);
      }
    }
  }
  if (items_.empty()) return;
  KVFOLD_CHECK(partials <= partials_end, "scratch", scratch.size(), "sequences", sequences.size());

  const auto kernel = layout->interleave == 2 ? table_.attention_bf16 : table_.attention_f32;
  KVFOLD_CHECK(kernel != nullptr, "isa", CpuIsaName(table_.isa), "interleave", layout->interleave);
  pool_.ParallelFor(static_cast<int64_t>(items_.size()), [&](int64_t i, int worker) {
    AttentionArgs args = items_[static_cast<size_t>(i)].args;
    args.scratch = scratch.data() + worker * worker_bytes;
    kernel(args);
  });
  pool_.ParallelFor(static_cast<int64_t>(merges_.size()),
                    [&](int64_t i, int) { MergeSplits(merges_[static_cast<size_t>(i)]); });
}

// softmax over a union of spans: each span's sums are weighted by 2^(its maximum - the overall
// one); spans in rising order.
void CpuAttention::MergeSplits(const Merge& merge) const {
  const AttentionArgs& args = merge.args;
  const int64_t head_dim = args.head_dim;
  const int64_t span_floats = PartialFloats(args.row_end, head_dim);
  for (int64_t row = 0; row < args.row_end; ++row) {
    float* const first = args.partial + row * (head_dim + 2);
    float max = -std::numeric_limits<float>::infinity();
    for (int64_t s = 0; s < merge.n_splits; ++s)
      max = std::max(max, first[s * span_floats + head_dim]);
    float total = 0.0f;
    for (int64_t s = 0; s < merge.n_splits; ++s) {
      float* const part = first + s * span_floats;
      const float weight =
          std::exp2(part[head_dim] - max);  // 0 for a span in which the row sees nothing
      total += part[head_dim + 1] * weight;
      for (int64_t d = 0; d < head_dim; ++d)
        first[d] = s == 0 ? part[d] * weight : first[d] + part[d] * weight;
    }
    const int64_t at = row / args.group * args.out_stride + row % args.group * head_dim;
    for (int64_t d = 0; d < head_dim; ++d) first[d] /= total;
    if (args.out_dtype == DType::kF32) {
      std::memcpy(static_cast<float*>(args.out) + at, first, static_cast<size_t>(head_dim) * 4);
    } else {
      table_.to_bf16(first, head_dim, static_cast<uint16_t*>(args.out) + at);
    }
    if (args.lse != nullptr) {
      args.lse[row / args.group * args.lse_stride + row % args.group] =
          (max + std::log2(total)) * std::numbers::ln2_v<float>;
    }
  }
}

}  // namespace kvfold::cpu
