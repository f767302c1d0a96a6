// runtime/kernels/cuda/attention_args.h: what the attention kernels are told. Plain data, made on
// the host by attention_batch.h, read on the device.
#pragma once

#include <cstdint>

#include "comm/device/dtype.h"
#include "runtime/kernels/cuda/attention_choice.h"

namespace kvfold::cuda {

struct BatchSequence {
  int row_begin = 0;  // first row of the batch
  int n_tokens = 0;
  int begin = 0;        // position of the first token
  int window = 0;       // 0: all
  int first_block = 0;  // that the table holds
  int table_begin = 0;  // place of first_block in the table
};

// One thread block's part: a tile of packed rows over the key tiles [tile_begin, tile_end).
struct AttentionItem {
  int sequence = 0;
  int first_head = 0;
  int group = 0;  // query heads of the KV head
  int kv_head = 0;
  int row_begin = 0;  // packed rows [row_begin, row_end)
  int row_end = 0;
  int tile_begin = 0;
  int tile_end = 0;
  int partial = -1;  // row of the partial results at which its rows start; -1: writes results
};

// Packed rows [row_begin, row_end) whose n_splits partial results lie split_rows apart.
struct MergeItem {
  int sequence = 0;
  int first_head = 0;
  int group = 0;
  int row_begin = 0;
  int row_end = 0;
  int partial = 0;
  int n_splits = 0;
  int split_rows = 0;
};

struct AttentionArgs {
  const BatchSequence* sequences = nullptr;
  const unsigned char* const* blocks = nullptr;  // the block table
  const AttentionItem* items = nullptr;
  const MergeItem* merges = nullptr;

  const void* q = nullptr;       // rows of q_stride elements, of type q_dtype
  void* out = nullptr;           // rows of out_stride elements, of type out_dtype
  float* log_sum_exp = nullptr;  // null, or [rows][n_heads]
  float* partial_out = nullptr;  // [rows of partial results][head_dim]
  PartialStats* partial_stats = nullptr;
  const float* slot_rope = nullptr;  // [kBlockTokens][head_dim]; null: the cache has no key bias
  int64_t q_stride = 0;
  int64_t out_stride = 0;
  int64_t layer_offset_bytes = 0;  // within a block
  int64_t head_bytes = 0;          // of a KV head of a block: K tile, V tile, scales
  int64_t tile_bytes = 0;
  int head_dim = 0;
  int n_heads = 0;
  DType q_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  float score_scale = 0.0f;  // Log2Scores (runtime/kernels/log2_scores.h)
  float score_cap = 0.0f;
};

}  // namespace kvfold::cuda
