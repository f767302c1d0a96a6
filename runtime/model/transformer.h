// runtime/model/transformer.h: one rank's share of a decoder-only transformer, over a ragged batch
// of sequences. Every family is served by the switches of its ModelConfig. All ranks call the same
// methods in the same order.
//
// A layer is two halves, each ending in an all-reduce that is started by the half and awaited by
// the next one:
//
//   attention half:  partial -> residual, norm, q k v, RoPE and append, attention, output product
//   -> partial FFN half:        partial -> residual, norm, gate and up, activation, down product ->
//   partial
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/attention_heads.h"
#include "runtime/model/step_context.h"
#include "runtime/weights/weights.h"
#include "shard/kv_cache.h"

namespace kvfold {

// One sequence's part of a step: its new tokens are rows [row, row + chunk.end() - chunk.begin())
// of the batch, in the order given.
struct StepSequence {
  const KvCache* cache = nullptr;
  const PendingChunk* chunk = nullptr;
  int64_t n_logit_rows = 0;  // logits are wanted for the last so many of its tokens
};

class Transformer {
 public:
  // All referenced objects must outlive it.
  Transformer(const ModelConfig& config, const ShardPlan& plan, const Weights& weights,
              Kernels& kernels, Communicator& communicator);

  // Fills what all steps of a context share. Once a context, before its first Forward.
  void Prepare(StepContext& context);

  // Runs every layer over the new tokens. embeddings: f32 [rows, hidden], host memory. Afterwards
  // the context holds the normed final states of the rows that logits are wanted for, one sequence
  // after the other.
  void Forward(StepContext& context, ConstTensorView embeddings,
               std::span<const StepSequence> sequences);

  // Logits of wanted rows [row_begin, row_end), this rank's share of the vocabulary: f32 [rows,
  // vocab_rows], at most max_logit_rows at a time, row_begin a multiple of max_logit_rows. Valid
  // until the next call.
  TensorView ShardLogits(StepContext& context, int64_t row_begin, int64_t row_end);

  // The same rows over the whole vocabulary: row r of `out` is [vocab_size]. At most
  // max_gather_rows rows. Every rank calls it; one that does not want them passes an empty `out`.
  void GatherLogits(StepContext& context, int64_t row_begin, int64_t row_end, std::span<float> out);

  // Log-likelihood parts of wanted rows: targets[r] is a token. For every row the largest logit,
  // the sum of exponentials below it (NaN where any rank's is) and the target's logit, of the whole
  // vocabulary, on every rank.
  void RowStatistics(StepContext& context, int64_t row_begin, int64_t row_end,
                     std::span<const int32_t> targets, std::span<RowStats> out);

  // The first of the largest logits of every row, of the whole vocabulary, whose column is the
  // token, on every rank; NaN where any rank holds one. Logits stay where they are.
  void LargestLogits(StepContext& context, int64_t row_begin, int64_t row_end,
                     std::span<LargestLogit> out);

 private:
  void StartAttentionHalf(StepContext& context, int64_t layer, int64_t rows,
                          std::span<const StepSequence> sequences);
  // This rank's heads, with what the context holds for them.
  AttentionHeads Heads(const StepContext& context) const;
  void StartFeedForwardHalf(StepContext& context, int64_t layer, int64_t rows);
  // A product, its time and its arithmetic counted.
  void Linear(StepContext& context, ConstTensorView x, const PackedLinear& weight,
              const float* bias, TensorView y);
  // All-reduces of `partial`, their time counted.
  void StartReduction(StepContext& context, TensorView partial);
  void AwaitReduction(StepContext& context);
  void FinalNorm(StepContext& context, std::span<const StepSequence> sequences);

  const ModelConfig& config_;
  const ShardPlan& plan_;
  const Weights& weights_;
  Kernels& kernels_;
  Communicator& communicator_;
  RankHeads heads_;
  std::vector<float> inv_freq_;
  std::vector<int64_t> positions_;  // of the step's rows; kept for their memory
  std::vector<SequenceRows> layer_rows_;
  std::vector<int64_t> shard_targets_;
  std::vector<RowStats> shard_stats_, all_stats_;
  std::vector<LargestLogit> shard_largest_, all_largest_;
};

}  // namespace kvfold
