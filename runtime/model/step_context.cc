#include "runtime/model/step_context.h"

#include <algorithm>

#include "comm/base/rounding.h"
#include "runtime/model/attention_heads.h"
#include "shard/tensor_cut.h"

namespace kvfold {
namespace {

int64_t Padded(int64_t rows) { return RoundUp(rows, kRowPadding); }

// Walks through the tensors of a context in order; the same walk sizes the allocation and lays it
// out.
class Walk {
 public:
  explicit Walk(std::byte* base) : base_(base) {}
  TensorView Tensor(DType dtype, int64_t rows, int64_t cols) {
    return {Bytes(rows * cols * DTypeBytes(dtype)), dtype, rows, cols, cols};
  }
  std::byte* Bytes(int64_t bytes) {
    std::byte* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += RoundUp(bytes, kAlignmentBytes);
    return at;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
};

struct Tensors {
  TensorView residual, normed, qkv, attention, partial, gate_up, activated;
  std::vector<StepRope> ropes;
  TensorView logits, gathered_logits;
  std::span<std::byte> scratch;
};

Tensors LayOut(Walk& walk, const ModelConfig& config, const ShardPlan& plan, int tp_rank,
               const KernelSizing& kernels, const StepLimits& limits) {
  const RankShard& shard = plan.rank(tp_rank);
  const int64_t vocab_rows = plan.padded_vocab_rows();
  const int64_t rows = Padded(limits.max_rows);
  const DType dtype = kernels.activation_dtype();
  const DType product_dtype = kernels.product_dtype();
  const auto shape = [&](WeightSlot slot) { return RankSlotShape(config, shard, 0, slot); };
  Tensors t;
  t.residual = walk.Tensor(DType::kF32, rows, config.hidden);
  t.normed = walk.Tensor(dtype, rows, config.hidden);
  t.qkv = walk.Tensor(product_dtype, rows, shape(WeightSlot::kQkv).n_out);
  t.attention = walk.Tensor(dtype, rows, shape(WeightSlot::kAttentionOut).n_in);
  t.partial =
      walk.Tensor(limits.allreduce_in_f32 ? DType::kF32 : product_dtype, rows, config.hidden);
  t.gate_up = walk.Tensor(product_dtype, rows, shape(WeightSlot::kGateUp).n_out);
  t.activated = walk.Tensor(dtype, rows, shape(WeightSlot::kDown).n_in);
  const bool key_bias = HasKeyBias(config, limits.kv_dtype);
  for (size_t i = 0; i < config.ropes.size(); ++i) {
    StepRope& rope = t.ropes.emplace_back();
    rope.rows = walk.Tensor(DType::kF32, rows, config.head_dim);
    rope.blocks = walk.Tensor(DType::kF32, key_bias ? rows : 0, config.head_dim);
    rope.slots = walk.Tensor(DType::kF32, key_bias ? kBlockTokens : 0, config.head_dim);
  }
  t.logits = walk.Tensor(DType::kF32, Padded(limits.max_logit_rows), vocab_rows);
  t.gathered_logits = walk.Tensor(DType::kF32, plan.tp_size() * limits.max_gather_rows, vocab_rows);
  const RankHeads heads(config, shard);
  const int64_t scratch = kernels.ScratchBytes(heads.view(), limits.max_sequences);
  t.scratch = {walk.Bytes(scratch), static_cast<size_t>(scratch)};
  return t;
}

}  // namespace

bool HasKeyBias(const ModelConfig& config, DType kv_dtype) {
  return kv_dtype == DType::kI8 && config.score_cap == 0.0 &&
         std::ranges::all_of(config.layers, &LayerSpec::keys_end_biased);
}

int64_t StepContextBytes(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                         const KernelSizing& kernels, const StepLimits& limits) {
  Walk walk(nullptr);
  LayOut(walk, config, plan, tp_rank, kernels, limits);
  return walk.used();
}

StepContext::StepContext(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                         const KernelSizing& kernels, Device& of_device,
                         const StepLimits& step_limits)
    : limits(step_limits),
      device(of_device),
      stream(of_device.stream()),
      memory(of_device.Allocate(StepContextBytes(config, plan, tp_rank, kernels, step_limits))) {
  Walk walk(memory.data());
  const Tensors t = LayOut(walk, config, plan, tp_rank, kernels, limits);
  residual = t.residual;
  normed = t.normed;
  qkv = t.qkv;
  attention = t.attention;
  partial = t.partial;
  gate_up = t.gate_up;
  activated = t.activated;
  ropes = t.ropes;
  logits = t.logits;
  gathered_logits = t.gathered_logits;
  scratch = t.scratch;
}

}  // namespace kvfold
