// tests/runtime/kernels/attention_batch.h: a ragged batch of made-up queries over made-up caches,
// run through Attention.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/runtime/kernels/backend.h"
#include "tests/runtime/kernels/reference.h"

namespace kvfold {

struct BatchShape {
  int64_t head_dim = 0;
  std::vector<int32_t> kv_head_of;  // by query head
  int64_t window = 0;
  std::vector<std::pair<int64_t, int64_t>> sequences;  // positions before the chunk, its tokens
  float score_deviation = 1.0f;
  bool dominant_key = false;  // each query's score of one of its keys is 60 above the others
  float score_cap = 0.0f;     // 0: none
  bool key_bias = false;      // as an int8 cache has it, several times as large as the keys

  int64_t n_heads() const { return static_cast<int64_t>(kv_head_of.size()); }
  int64_t n_kv_heads() const { return kv_head_of.back() + 1; }
  float softmax_scale() const;
};

// Keys and values are whole numbers of at most 7 bits times a power of two, which f32, bf16 and
// int8 caches hold exactly: one reference serves all.
struct SequenceData {
  int64_t prefix = 0;
  int64_t n_tokens = 0;
  std::vector<float> q;                   // [n_tokens][n_heads * head_dim]
  std::vector<float> keys, values;        // [n_kv_heads][end][head_dim], whole numbers
  std::vector<float> k_scales, v_scales;  // [n_kv_heads][end]
  std::vector<float> key_bias;            // [n_kv_heads][blocks of end][head_dim], or empty
  int64_t end() const { return prefix + n_tokens; }
};
std::vector<SequenceData> MakeSequences(const BatchShape& shape, uint64_t seed);

// Of one sequence.
struct AttentionOutput {
  std::vector<float> out;          // [n_tokens][n_heads * head_dim]
  std::vector<float> log_sum_exp;  // [n_tokens][n_heads]
};
// Runs the sequences named in `which`, in that order, as one batch through caches of kv_dtype whose
// unwritten positions hold large numbers. Checks that nothing beyond the results is written.
std::vector<AttentionOutput> RunAttention(Backend& backend, DType kv_dtype, const BatchShape& shape,
                                          const std::vector<SequenceData>& sequences,
                                          const std::vector<size_t>& which);

// Dim `dim` of the key bias of a position's block, turned by the position's place in it, in double;
// 0 where there is none.
double TurnedKeyBias(const BatchShape& shape, const SequenceData& sequence, int64_t kv_head,
                     int64_t position, int64_t dim);

// The reference for query head `head` of token `token`.
AttentionRow ReferenceRow(const BatchShape& shape, const SequenceData& sequence, int64_t token,
                          int64_t head);

}  // namespace kvfold
