#include "runtime/model/transformer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvfold {
namespace {

// 4 head_dim for every query row and key that it sees.
double AttentionFlop(const AttentionHeads& heads, std::span<const SequenceRows> sequences) {
  double pairs = 0.0;
  for (const SequenceRows& sequence : sequences) {
    for (int64_t t = 0; t < sequence.n_tokens; ++t) {
      const int64_t seen = sequence.view.begin + t + 1;
      pairs += static_cast<double>(sequence.view.window > 0 ? std::min(seen, sequence.view.window)
                                                            : seen);
    }
  }
  return 4.0 * pairs * static_cast<double>(heads.head_dim * heads.n_heads);
}

// Waits for nothing: what a device does later is read when it is over.
template <typename Work>
void Timed(StepContext& context, double StepTimings::*sum, const Work& work) {
  if (context.clock == nullptr) {
    work();
    return;
  }
  context.clock->Begin();
  work();
  context.clock->End(sum);
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, const ShardPlan& plan, const Weights& weights,
                         Kernels& kernels, Communicator& communicator)
    : config_(config),
      plan_(plan),
      weights_(weights),
      kernels_(kernels),
      communicator_(communicator),
      heads_(config, plan.rank(communicator.rank())) {
  KVFOLD_CHECK(plan.tp_size() == communicator.size(), "tp_size", plan.tp_size(), "ranks",
               communicator.size());
  for (const RopeConfig& rope : config.ropes) {
    inv_freqs_.push_back(RopeInverseFrequencies(rope, config.head_dim));
  }
}

void Transformer::Prepare(StepContext& context) const {
  for (size_t i = 0; i < context.ropes.size(); ++i) {
    const TensorView slots = context.ropes[i].slots;
    if (slots.rows == 0) continue;
    kernels_.FillSlotRope(inv_freqs_[i], reinterpret_cast<float*>(slots.data));
  }
}

AttentionHeads Transformer::Heads(const StepContext& context, int64_t layer) const {
  AttentionHeads heads = heads_.view();
  const SlotWeights& weights = weights_.layer(layer);
  heads.query_norm = weights.vector(WeightSlot::kQueryNorm);
  heads.key_norm = weights.vector(WeightSlot::kKeyNorm);
  heads.norm_eps = static_cast<float>(config_.rms_eps);
  const TensorView slots = RopeOf(context, layer).slots;
  if (slots.rows > 0) heads.slot_rope = reinterpret_cast<const float*>(slots.data);
  return heads;
}

void Transformer::Forward(StepContext& context, ConstTensorView embeddings,
                          std::span<const StepSequence> sequences) const {
  BeginStep(context, embeddings, sequences);
  for (int64_t layer = 0; layer < config_.n_layers(); ++layer) {
    StartAttentionHalf(context, layer);
    StartFeedForwardHalf(context, layer);
  }
  FinishStep(context);
}

void Transformer::BeginStep(StepContext& context, ConstTensorView embeddings,
                            std::span<const StepSequence> sequences) const {
  communicator_.progress().BeginStep();
  const int64_t rows = embeddings.rows;
  KVFOLD_CHECK(rows <= context.limits.max_rows && embeddings.cols == config_.hidden, "rows", rows,
               "max_rows", context.limits.max_rows, "cols", embeddings.cols);
  context.rows = rows;
  context.sequences.assign(sequences.begin(), sequences.end());
  std::vector<int64_t>& positions = context.positions;
  positions.clear();
  for (const StepSequence& sequence : sequences) {
    for (int64_t p = sequence.chunk->begin(); p < sequence.chunk->end(); ++p)
      positions.push_back(p);
  }
  KVFOLD_CHECK(static_cast<int64_t>(positions.size()) == rows, "positions", positions.size(),
               "rows", rows);
  kernels_.CopyFromHost(embeddings, context.residual.Rows(0, rows));
  for (size_t i = 0; i < context.ropes.size(); ++i) {
    kernels_.FillRopeTable(positions, inv_freqs_[i], context.ropes[i].rows.Rows(0, rows));
  }
  if (context.ropes.front().blocks.rows == 0) return;
  for (int64_t& position : positions) position -= position % kBlockTokens;
  for (size_t i = 0; i < context.ropes.size(); ++i) {
    kernels_.FillRopeTable(positions, inv_freqs_[i], context.ropes[i].blocks.Rows(0, rows));
  }
}

void Transformer::StartAttentionHalf(StepContext& context, int64_t layer) const {
  const int64_t rows = context.rows;
  std::vector<SequenceRows>& layer_rows = context.layer_rows;
  const SlotWeights& weights = weights_.layer(layer);
  const float* const qkv_bias = weights.vector(WeightSlot::kQkvBias);
  const TensorView normed = context.normed.Rows(0, rows);
  const TensorView qkv = context.qkv.Rows(0, rows);
  const TensorView attention = context.attention.Rows(0, rows);
  const TensorView partial = context.partial.Rows(0, rows);

  communicator_.progress().BeginLayer(layer);
  AwaitAllReduce(context);
  const ConstTensorView delta = layer == 0 ? ConstTensorView() : ConstTensorView(partial);
  const float* const delta_weight =
      layer == 0 ? nullptr : weights_.layer(layer - 1).vector(WeightSlot::kPostFfnNorm);
  kernels_.AddRmsNorm(context.residual.Rows(0, rows), delta, delta_weight,
                      weights.vector(WeightSlot::kAttentionNorm),
                      static_cast<float>(config_.rms_eps), normed);
  Linear(context, normed, weights.product(WeightSlot::kQkv), qkv_bias, qkv);

  layer_rows.clear();
  int64_t row = 0;
  for (const StepSequence& sequence : context.sequences) {
    const int64_t n_tokens = sequence.chunk->end() - sequence.chunk->begin();
    layer_rows.push_back({row, n_tokens, sequence.cache->View(*sequence.chunk, layer)});
    row += n_tokens;
  }
  const AttentionHeads heads = Heads(context, layer);
  const StepRope& rope = RopeOf(context, layer);
  KVFOLD_CHECK(
      layer_rows.empty() || layer_rows.front().view.layout->has_key_bias == (rope.blocks.rows > 0),
      "the context's kv_dtype", DTypeName(context.limits.kv_dtype));
  KeyBias key_bias;
  if (rope.blocks.rows > 0) {
    key_bias = {qkv_bias + heads.n_heads * heads.head_dim, rope.blocks.Rows(0, rows)};
  }
  kernels_.RopeAppend(qkv, rope.rows.Rows(0, rows), heads, layer_rows, key_bias);
  context.timings.attention_flop += AttentionFlop(heads, layer_rows);
  Timed(context, &StepTimings::attention_s,
        [&] { kernels_.Attention(qkv, heads, layer_rows, context.scratch, attention, nullptr); });
  communicator_.progress().Tick();
  Linear(context, attention, weights.product(WeightSlot::kAttentionOut), nullptr, partial);
  StartAllReduce(context, partial);
}

void Transformer::StartFeedForwardHalf(StepContext& context, int64_t layer) const {
  const int64_t rows = context.rows;
  const SlotWeights& weights = weights_.layer(layer);
  const TensorView normed = context.normed.Rows(0, rows);
  const TensorView gate_up = context.gate_up.Rows(0, rows);
  const TensorView activated = context.activated.Rows(0, rows);
  const TensorView partial = context.partial.Rows(0, rows);

  AwaitAllReduce(context);
  kernels_.AddRmsNorm(
      context.residual.Rows(0, rows), partial, weights.vector(WeightSlot::kPostAttentionNorm),
      weights.vector(WeightSlot::kFfnNorm), static_cast<float>(config_.rms_eps), normed);
  Linear(context, normed, weights.product(WeightSlot::kGateUp), nullptr, gate_up);
  kernels_.GatedActivation(gate_up, config_.activation, activated);
  Linear(context, activated, weights.product(WeightSlot::kDown), nullptr, partial);
  StartAllReduce(context, partial);
}

void Transformer::Linear(StepContext& context, ConstTensorView x, const PackedLinear& weight,
                         const float* bias, TensorView y) const {
  const LinearShape shape = weight.shape();
  context.timings.linear_flop +=
      2.0 * static_cast<double>(x.rows) * static_cast<double>(shape.n_out * shape.n_in);
  Timed(context, &StepTimings::linear_s, [&] { kernels_.Linear(x, weight, bias, y); });
  communicator_.progress().Tick();
}

void Transformer::StartAllReduce(StepContext& context, TensorView partial) const {
  Timed(context, &StepTimings::communication_s,
        [&] { context.all_reduce = communicator_.StartAllReduceSum(partial, context.stream); });
}

void Transformer::AwaitAllReduce(StepContext& context) const {
  Timed(context, &StepTimings::communication_s, [&] { context.all_reduce.Await(); });
}

void Transformer::FinishStep(StepContext& context) const {
  AwaitAllReduce(context);
  int64_t wanted = 0;
  Range run;  // wanted rows that follow each other: all of them where every sequence decodes
  const auto norm = [&] {
    if (run.size() == 0) return;
    kernels_.AddRmsNorm(context.residual.Rows(run.begin, run.end),
                        context.partial.Rows(run.begin, run.end),
                        weights_.layer(config_.n_layers() - 1).vector(WeightSlot::kPostFfnNorm),
                        weights_.final_norm(), static_cast<float>(config_.rms_eps),
                        context.normed.Rows(wanted, wanted + run.size()));
    wanted += run.size();
  };
  int64_t row = 0;
  for (const StepSequence& sequence : context.sequences) {
    row += sequence.chunk->end() - sequence.chunk->begin();
    if (sequence.n_logit_rows == 0) continue;
    const int64_t first = row - sequence.n_logit_rows;
    if (first != run.end) {
      norm();
      run.begin = first;
    }
    run.end = row;
  }
  norm();
}

TensorView Transformer::ShardLogits(StepContext& context, int64_t row_begin,
                                    int64_t row_end) const {
  const int64_t rows = row_end - row_begin;
  KVFOLD_CHECK(rows <= context.limits.max_logit_rows, "rows", rows, "max_logit_rows",
               context.limits.max_logit_rows);
  TensorView logits = context.logits.Rows(0, rows);
  logits.cols = weights_.vocabulary().shape().n_out;  // the stride stays that of the padded share
  Linear(context, context.normed.Rows(row_begin, row_end), weights_.vocabulary(), nullptr, logits);
  if (config_.logit_cap > 0.0) kernels_.SoftCap(logits, static_cast<float>(config_.logit_cap));
  return logits;
}

void Transformer::GatherLogits(StepContext& context, int64_t row_begin, int64_t row_end,
                               std::span<float> out) const {
  const int64_t rows = row_end - row_begin;
  KVFOLD_CHECK(rows <= context.limits.max_gather_rows, "rows", rows, "max_gather_rows",
               context.limits.max_gather_rows);
  KVFOLD_CHECK(out.empty() || static_cast<int64_t>(out.size()) == rows * config_.vocab_size, "out",
               out.size(), "rows", rows);
  constexpr int64_t kF32Bytes = DTypeBytes(DType::kF32);
  ShardLogits(context, row_begin, row_end);
  const TensorView gathered = context.gathered_logits.Rows(0, communicator_.size() * rows);
  Timed(context, &StepTimings::communication_s, [&] {
    communicator_.AllGather(context.logits.Rows(0, rows), gathered, context.stream);
    for (int rank = 0; rank < communicator_.size(); ++rank) {
      const Range vocab = plan_.rank(rank).vocab_rows;
      if (out.empty() || vocab.size() == 0) continue;
      context.device.CopyRowsToHost(gathered.Row(rank * rows), gathered.stride * kF32Bytes,
                                    out.data() + vocab.begin, config_.vocab_size * kF32Bytes,
                                    vocab.size() * kF32Bytes, rows);
    }
  });
}

void Transformer::RowStatistics(StepContext& context, int64_t row_begin, int64_t row_end,
                                std::span<const int32_t> targets, std::span<RowStats> out) const {
  const auto rows = static_cast<size_t>(row_end - row_begin);
  KVFOLD_CHECK(targets.size() == rows && out.size() == rows, "targets", targets.size(), "rows",
               rows);
  const TensorView logits = ShardLogits(context, row_begin, row_end);
  const Range vocab = plan_.rank(communicator_.rank()).vocab_rows;
  context.shard_targets.resize(rows);
  for (size_t r = 0; r < rows; ++r) context.shard_targets[r] = targets[r] - vocab.begin;
  context.shard_stats.resize(rows);
  kernels_.LogitStats(logits, context.shard_targets, context.shard_stats);
  context.all_stats.resize(rows * static_cast<size_t>(communicator_.size()));
  communicator_.AllGatherBytes(std::as_bytes(std::span(context.shard_stats)),
                               std::as_writable_bytes(std::span(context.all_stats)));
  for (size_t r = 0; r < rows; ++r) {
    RowStats total{-std::numeric_limits<float>::infinity(), 0.0f, 0.0f};
    for (size_t rank = 0; rank < static_cast<size_t>(communicator_.size()); ++rank) {
      total.max = std::max(total.max, context.all_stats[rank * rows + r].max);
    }
    for (size_t rank = 0; rank < static_cast<size_t>(communicator_.size()); ++rank) {
      const RowStats& part = context.all_stats[rank * rows + r];
      total.target += part.target;         // only one rank has it
      if (part.sum_exp == 0.0f) continue;  // an empty shard
      total.sum_exp += part.sum_exp * std::exp(part.max - total.max);
    }
    out[r] = total;
  }
}

void Transformer::ArgMax(StepContext& context, int64_t row_begin, int64_t row_end,
                         std::span<ArgMaxLogit> out) const {
  const auto rows = static_cast<size_t>(row_end - row_begin);
  KVFOLD_CHECK(out.size() == rows, "out", out.size(), "rows", rows);
  const TensorView logits = ShardLogits(context, row_begin, row_end);
  context.shard_arg_max.resize(rows);
  kernels_.ArgMax(logits, context.shard_arg_max);
  context.all_arg_max.resize(rows * static_cast<size_t>(communicator_.size()));
  communicator_.AllGatherBytes(std::as_bytes(std::span(context.shard_arg_max)),
                               std::as_writable_bytes(std::span(context.all_arg_max)));
  for (size_t r = 0; r < rows; ++r) {
    ArgMaxLogit largest;
    for (int rank = 0; rank < communicator_.size(); ++rank) {
      const ArgMaxLogit& part = context.all_arg_max[static_cast<size_t>(rank) * rows + r];
      if (!(part.logit > largest.logit || std::isnan(part.logit))) continue;
      const auto first = static_cast<int32_t>(plan_.rank(rank).vocab_rows.begin);
      largest = {part.logit, first + part.column};
    }
    out[r] = largest;
  }
}

}  // namespace kvfold
