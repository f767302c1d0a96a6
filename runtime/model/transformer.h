// runtime/model/transformer.h: one rank's share of a decoder-only transformer, over a ragged batch
// of sequences. Every family is served by the switches of its ModelConfig. All ranks call the same
// methods in the same order.
//
// A layer is two halves, each ending in an all-reduce that is started by the half and awaited by
// the next one of the same step:
//
//   attention:     partial -> residual, norm, q k v, RoPE and append, attention, output -> partial
//   feed-forward:  partial -> residual, norm, gate and up, activation, down -> partial
//
// Forward runs them one after the other. A caller may as well interleave the halves of two steps,
// each in a context of its own, so that one computes while the other's sum is under way:
//
//   BeginStep(a); BeginStep(b);
//   StartAttentionHalf(a, 0); StartAttentionHalf(b, 0); StartFeedForwardHalf(a, 0); ...
//   FinishStep(a); FinishStep(b);
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/attention_heads.h"
#include "runtime/model/step_context.h"
#include "runtime/weights/weights.h"

namespace kvfold {

class Transformer {
 public:
  // All referenced objects must outlive it.
  Transformer(const ModelConfig& config, const ShardPlan& plan, const Weights& weights,
              Kernels& kernels, Communicator& communicator);

  // Fills what all steps of a context share. Once a context, before its first Forward.
  void Prepare(StepContext& context) const;

  // Runs every layer over the new tokens. embeddings: f32 [rows, hidden], host memory. Afterwards
  // the context holds the normed final states of the rows that logits are wanted for, one sequence
  // after the other.
  void Forward(StepContext& context, ConstTensorView embeddings,
               std::span<const StepSequence> sequences) const;

  // The parts of Forward: BeginStep, for every layer in order its two halves, FinishStep. Between
  // them any part of a step in another context may run, in the same order on all ranks; a chunk
  // behind a pending one of the same sequence must not be in a layer before that one has been.
  // Caches and chunks are borrowed until FinishStep. Where one throws, the context is of no use
  // before the next BeginStep, and the communicator of none at all.
  void BeginStep(StepContext& context, ConstTensorView embeddings,
                 std::span<const StepSequence> sequences) const;
  void StartAttentionHalf(StepContext& context, int64_t layer) const;
  void StartFeedForwardHalf(StepContext& context, int64_t layer) const;
  void FinishStep(StepContext& context) const;

  // Logits of wanted rows [row_begin, row_end), this rank's share of the vocabulary: f32 [rows,
  // vocab_rows], at most max_logit_rows at a time, row_begin a multiple of max_logit_rows. Valid
  // until the next call.
  TensorView ShardLogits(StepContext& context, int64_t row_begin, int64_t row_end) const;

  // The same rows over the whole vocabulary: row r of `out` is [vocab_size]. At most
  // max_gather_rows rows. Every rank calls it; one that does not want them passes an empty `out`.
  void GatherLogits(StepContext& context, int64_t row_begin, int64_t row_end,
                    std::span<float> out) const;

  // Log-likelihood parts of wanted rows: targets[r] is a token. For every row the largest logit,
  // the sum of exponentials below it (NaN where any rank's is) and the target's logit, of the whole
  // vocabulary, on every rank.
  void RowStatistics(StepContext& context, int64_t row_begin, int64_t row_end,
                     std::span<const int32_t> targets, std::span<RowStats> out) const;

  // The first of the largest logits of every row, of the whole vocabulary, whose column is the
  // token, on every rank; NaN where any rank holds one. Logits stay where they are.
  void ArgMax(StepContext& context, int64_t row_begin, int64_t row_end,
              std::span<ArgMaxLogit> out) const;

 private:
  // This rank's heads in a layer, with what weights and context hold for them.
  AttentionHeads Heads(const StepContext& context, int64_t layer) const;
  const StepRope& RopeOf(const StepContext& context, int64_t layer) const {
    return context.ropes[static_cast<size_t>(config_.layer(layer).rope)];
  }
  // A product, its time and its arithmetic counted.
  void Linear(StepContext& context, ConstTensorView x, const PackedLinear& weight,
              const float* bias, TensorView y) const;
  // All-reduces of `partial`, their time counted.
  void StartAllReduce(StepContext& context, TensorView partial) const;
  void AwaitAllReduce(StepContext& context) const;

  const ModelConfig& config_;
  const ShardPlan& plan_;
  const Weights& weights_;
  Kernels& kernels_;
  Communicator& communicator_;
  RankHeads heads_;
  std::vector<std::vector<float>> inv_freqs_;  // by ModelConfig::ropes
};

}  // namespace kvfold
