// runtime/kernels/cuda/batch_table.h: a ragged batch as the kernels read it: its sequences, their
// blocks, and the work of attention cut into items. Made on the host, one for all layers that see
// the same blocks. No CUDA here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/executor.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

// What attention over a batch depends on beside its sequences.
struct BatchKind {
  int64_t head_dim = 0;
  bool matrix = false;  // by matrix units, else by the plain kernel
  bool int8 = false;    // the cache's elements
  int64_t blocks_at_a_time = 0;
  int64_t partial_rows = 0;  // room for partial results
  bool operator==(const BatchKind&) const = default;
};

// Items and merges whose partial results share the scratch: first all items, then the merges, then
// the next wave.
struct AttentionWave {
  int few_begin = 0, n_few = 0;    // items of AttentionKernel::kMatrixFew
  int many_begin = 0, n_many = 0;  // of kMatrixMany, or of kPlain
  int merge_begin = 0, n_merges = 0;
  int most_merge_rows = 0;
};

class BatchTable {
 public:
  // Describes the batch. Cheap where it is the one described before, of whatever layer: returns
  // false, and nothing has changed. Throws CapacityError where a position is beyond int32.
  bool Describe(int64_t n_rows, const AttentionHeads& heads,
                std::span<const SequenceRows> sequences, const BatchKind& kind);

  std::span<const BatchSequence> sequences() const { return sequences_; }
  std::span<const std::byte* const> blocks() const { return blocks_; }
  std::span<const int32_t> sequence_of() const { return sequence_of_; }  // by row; -1: of none
  std::span<const AttentionItem> items() const { return items_; }
  std::span<const MergeItem> merges() const { return merges_; }
  std::span<const AttentionWave> waves() const { return waves_; }

  // All of it in one piece of memory, each part at a multiple of 16 bytes.
  struct Offsets {
    int64_t sequences, blocks, sequence_of, items, merges, end;
  };
  Offsets offsets() const;
  void Write(std::byte* to) const;  // offsets().end bytes

 private:
  struct HeadGroup {  // query heads of one KV head, neighbours
    int first_head;
    int n_heads;
    int kv_head;
    bool operator==(const HeadGroup&) const = default;
  };
  void CutIntoItems(const BatchKind& kind);
  void CutSequence(int sequence, const BatchKind& kind, std::vector<AttentionItem>& few,
                   std::vector<AttentionItem>& many, int64_t* partial_rows);

  bool described_ = false;
  BatchKind kind_;
  int64_t n_rows_ = 0;
  std::vector<HeadGroup> groups_, next_groups_;
  std::vector<BatchSequence> sequences_, next_sequences_;
  std::vector<const std::byte*> blocks_, next_blocks_;
  std::vector<int32_t> sequence_of_;
  std::vector<AttentionItem> items_;
  std::vector<MergeItem> merges_;
  std::vector<AttentionWave> waves_;
};

// Rows of partial results that the largest sequence needs: room for them is room for any batch.
int64_t MostPartialRows(int64_t head_dim, int64_t blocks_at_a_time);

}  // namespace kvfold::cuda
