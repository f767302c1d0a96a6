// runtime/kernels/kernels.h: what a Transformer asks of a device, at fused grain, in stream order.
//
// Shapes use the glossary of dims (docs/design.md). A row is one token. Views are borrowed until
// the stream has passed the call. A row's result depends on that row's inputs alone (and, in
// Attention, on its sequence), never on which or how many other rows are in the call: bit for bit,
// whatever the number of threads. Nothing here allocates in the steady state.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "comm/device/device.h"
#include "comm/device/tensor_view.h"
#include "models/model_config.h"
#include "shard/kv_cache.h"
#include "shard/memory_plan.h"

namespace kvfold {

// A weight [n_out, n_in] in the layout that one implementation of Kernels multiplies by. Opaque to
// all others. Its memory is borrowed from the caller of Pack and must outlive it.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  virtual LinearShape shape() const = 0;
};

// Writes rows [row_begin, row_end) of a weight, all n_in columns, dense f32, to `out`. Called from
// several threads at once.
using WeightRows = std::function<void(int64_t row_begin, int64_t row_end, float* out)>;

// One sequence's part of a ragged batch.
struct SequenceRows {
  int64_t row_begin = 0;  // first row of the batch that is this sequence's
  int64_t n_tokens = 0;   // rows; token i is at position view.begin + i
  KvView view;            // of the layer at hand; view.end == view.begin + n_tokens
};

// Rotations of one step, computed once for all layers of one RoPE: row t holds cos(position_t *
// inv_freq[i]) for i in [0, head_dim / 2), then the sines. Angles are formed in float, as Hugging
// Face forms them.
using RopeTable = ConstTensorView;  // f32 [n_tokens, head_dim]

struct AttentionHeads {
  int64_t n_heads = 0;     // query heads of this rank
  int64_t n_kv_heads = 0;  // KV heads of this rank
  int64_t head_dim = 0;
  // By query head of this rank, the KV head of this rank that it attends to; rising.
  std::span<const int32_t> kv_head_of;
  float softmax_scale = 0.0f;
  // A soft-cap of scaled scores: s becomes score_cap * tanh(s / score_cap) (Gemma 2,
  // arXiv:2408.00118, section 2). 0: none.
  float score_cap = 0.0f;
  // Where the cache has a key bias (KvLayout::has_key_bias): what FillSlotRope wrote. Scores are
  // not capped there.
  const float* slot_rope = nullptr;
  // Weights f32 [head_dim] on the device of a norm of every query head and every key head before
  // RoPE, x[d] weight[d] / sqrt(mean_d(x^2) + norm_eps) (Qwen3, arXiv:2505.09388); both or null.
  const float* query_norm = nullptr;
  const float* key_norm = nullptr;
  float norm_eps = 0.0f;
};

// What keys are quantised without, where the cache has a key bias.
struct KeyBias {
  const float* bias = nullptr;  // f32 [n_kv_heads * head_dim] on the device, before RoPE
  RopeTable block_rope;         // by row: rotation of the first position of the row's block
};

// What the device could do at best, measured.
struct Ceilings {
  // Of the best matrix product of the given shapes, all threads together.
  double product_flop_per_s = 0.0;
  double copy_bytes_per_s = 0.0;  // of a copy larger than any cache, bytes read plus bytes written
};

// By row of LogitStats: over the columns of one rank's shard of the vocabulary.
struct RowStats {
  float max = 0.0f;      // -infinity for an empty shard, and where all logits are
  float sum_exp = 0.0f;  // sum of exp(logit - max); NaN where a logit is NaN or +infinity
  float target = 0.0f;   // the target's logit where it is in the shard, else 0
};

// Of one row of one rank's shard of the vocabulary: the first of its largest logits, or a NaN where
// there is one, so that no row is taken for numbers that it does not hold.
struct ArgMaxLogit {
  float logit = -std::numeric_limits<float>::infinity();
  int32_t column = 0;  // 0 where no logit is above -infinity; of any of them where one is NaN
};

// What an implementation of Kernels takes in bytes and types: enough to plan memory before a device
// is touched.
class KernelSizing {
 public:
  virtual ~KernelSizing() = default;
  virtual DType activation_dtype() const = 0;  // what products take: kF32 or kBF16
  // What products give to the next kernel and to the all-reduce: kF32, or activation_dtype where
  // memory is what they wait for. (Logits are always f32.)
  virtual DType product_dtype() const { return DType::kF32; }
  // KvLayout::interleave that Attention reads.
  virtual int64_t kv_interleave(DType kv_dtype) const = 0;
  // Bytes that Attention over at most max_sequences sequences may use as scratch.
  virtual int64_t ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const = 0;
  // Bytes of a packed weight. Pack writes exactly as many.
  virtual int64_t PackedBytes(LinearShape shape) const = 0;
  // Bytes that the implementation itself allocates on its device, once, when it is made.
  virtual int64_t OwnBytes() const { return 0; }
};

class Kernels : public KernelSizing {
 public:
  virtual std::string name() const = 0;  // "cpu avx512_bf16, bf16"

  // Converts and packs into `memory` (PackedBytes(shape) bytes, 64-byte aligned, on the device), a
  // strip of rows at a time.
  virtual std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                             const WeightRows& rows) = 0;

  // host: f32 [rows, cols] in host memory, read before this returns; out: f32 of the same shape on
  // the device.
  virtual void CopyFromHost(ConstTensorView host, TensorView out) = 0;

  // out[t, i] = sin and cos as RopeTable has them, for positions[t].
  virtual void FillRopeTable(std::span<const int64_t> positions, std::span<const float> inv_freq,
                             TensorView out) = 0;
  // Rotations of the kBlockTokens places of a block, positions 0 to kBlockTokens - 1: f32
  // [kBlockTokens * head_dim] on the device, in the order that this implementation reads them in.
  virtual void FillSlotRope(std::span<const float> inv_freq, float* out) = 0;

  // residual += delta (skipped where delta is empty), or with a delta_weight the norm of delta by
  // it; out is the norm of residual by weight. The norm of x: weight[d] * x[t, d] /
  // sqrt(mean_d(x^2) + eps) (arXiv:1910.07467), the mean in f32. residual: f32 [n_tokens, hidden];
  // delta: f32 or product_dtype; delta_weight: null or f32 [hidden]; out: activation_dtype.
  virtual void AddRmsNorm(TensorView residual, ConstTensorView delta, const float* delta_weight,
                          const float* weight, float eps, TensorView out) = 0;

  // y = x w^T (+ bias). x: activation_dtype [n_tokens, n_in]; y: f32 or product_dtype [n_tokens,
  // n_out]; bias: f32 [n_out] or null; sums in f32. Rows of `x` beyond n_tokens, up to the next
  // multiple of kRowPadding, may be read: they change nothing, whatever they hold.
  virtual void Linear(ConstTensorView x, const PackedLinear& weight, const float* bias,
                      TensorView y) = 0;

  // qkv: f32 or product_dtype [n_tokens, (n_heads + 2 n_kv_heads) * head_dim]: q heads, k heads, v
  // heads. Norms q and k where the heads have norms. Rotates q in place; writes rotated k, and v,
  // into the pending chunk of every sequence's view, quantising where the cache does; what is not
  // finite as shard/kv_layout.h has it. key_bias: empty where the cache has none.
  virtual void RopeAppend(TensorView qkv, RopeTable rope, const AttentionHeads& heads,
                          std::span<const SequenceRows> sequences, const KeyBias& key_bias) = 0;

  // out[t, h] = softmax(scale * q[t, h] . K, capped) V over the positions that t sees: not after
  // itself, and within the window. q: the rotated q heads of `qkv`; out: activation_dtype
  // [n_tokens, n_heads * head_dim]. log_sum_exp: null, or f32 [n_tokens, n_heads]: the natural log
  // of the sum of exponentials of the scaled scores, by which partial results merge.
  virtual void Attention(ConstTensorView qkv, const AttentionHeads& heads,
                         std::span<const SequenceRows> sequences, std::span<std::byte> scratch,
                         TensorView out, float* log_sum_exp) = 0;

  // out[t, j] = activation(gate_up[t, j]) * gate_up[t, ffn + j], j in [0, ffn). gate_up: f32 or
  // product_dtype [n_tokens, 2 ffn]; out: activation_dtype [n_tokens, ffn].
  virtual void GatedActivation(ConstTensorView gate_up, Activation activation, TensorView out) = 0;

  // x becomes cap * tanh(x / cap), cap > 0. logits: f32.
  virtual void SoftCap(TensorView logits, float cap) = 0;

  // stats[r] over logits [rows, n_vocab_shard] f32; targets[r] is a column of the shard or outside
  // [0, cols).
  virtual void LogitStats(ConstTensorView logits, std::span<const int64_t> targets,
                          std::span<RowStats> stats) = 0;

  // largest[r] of row r of logits [rows, n_vocab_shard] f32.
  virtual void ArgMax(ConstTensorView logits, std::span<ArgMaxLogit> largest) = 0;

  // Takes about a second. shapes: not empty; rows >= 1: of the products.
  virtual Ceilings MeasureCeilings(std::span<const LinearShape> shapes, int64_t rows) = 0;
};

// Row capacities of buffers that Linear reads are multiples of this.
inline constexpr int64_t kRowPadding = 64;

}  // namespace kvfold
