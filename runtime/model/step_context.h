// runtime/model/step_context.h: all that one step in flight has of its own. A Transformer has no
// state: two contexts are two steps.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/device/device.h"
#include "models/model_config.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/step_timings.h"
#include "shard/kv_cache.h"
#include "shard/shard_plan.h"

namespace kvfold {

// The most that one step may bring.
struct StepLimits {
  int64_t max_rows = 0;  // tokens of all its sequences
  int64_t max_sequences = 0;
  int64_t max_logit_rows = 0;     // rows of logits computed at a time
  int64_t max_gather_rows = 0;    // rows of logits gathered from all ranks at a time
  bool allreduce_in_f32 = false;  // `partial` is f32 where product_dtype is narrower
  DType kv_dtype = DType::kF32;
  bool operator==(const StepLimits&) const = default;
};

// One sequence's part of a step: its new tokens are rows [row, row + chunk.end() - chunk.begin())
// of the batch, in the order given.
struct StepSequence {
  const KvCache* cache = nullptr;
  const PendingChunk* chunk = nullptr;
  int64_t n_logit_rows = 0;  // logits are wanted for the last so many of its tokens
};

// KvLayout::has_key_bias of a model's cache: int8 keys of projections that all
// have a bias, where scores are not capped.
bool HasKeyBias(const ModelConfig& config, DType kv_dtype);

// Bytes of a StepContext's one allocation.
int64_t StepContextBytes(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
                         const KernelSizing& kernels, const StepLimits& limits);

// One RoPE's rotations of a step's positions.
struct StepRope {
  TensorView rows;  // f32 [max_rows, head_dim]
  // Where HasKeyBias, else empty:
  TensorView blocks;  // f32 [max_rows, head_dim]: KeyBias::block_rope
  TensorView slots;   // f32 [kBlockTokens, head_dim], filled once by Kernels::FillSlotRope
};

struct StepContext {
  StepContext(const ModelConfig& config, const ShardPlan& plan, int tp_rank,
              const KernelSizing& kernels, Device& of_device, const StepLimits& step_limits);

  StepLimits limits;
  Device& device;
  Stream& stream;
  Buffer memory;
  // Views of the full capacity; a step uses the first rows. Row capacities are multiples of
  // kRowPadding. `activations` are activation_dtype, `products` product_dtype of the kernels.
  TensorView residual;   // f32 [max_rows, hidden]
  TensorView normed;     // activations [max_rows, hidden]
  TensorView qkv;        // products [max_rows, (n_heads + 2 n_kv_heads) * head_dim]
  TensorView attention;  // activations [max_rows, n_heads * head_dim]
  TensorView
      partial;  // products, or f32 by limits.allreduce_in_f32 [max_rows, hidden]: this rank's
                // part of a half-layer's output, then the sum of all
  TensorView gate_up;           // products [max_rows, 2 ffn]
  TensorView activated;         // activations [max_rows, ffn]
  std::vector<StepRope> ropes;  // by ModelConfig::ropes
  TensorView logits;            // f32 [max_logit_rows, padded_vocab_rows]
  TensorView gathered_logits;   // f32 [tp_size * max_gather_rows, padded_vocab_rows]
  std::span<std::byte> scratch;

  StepTimings timings;  // of all steps since it was last cleared; FLOP alone without `clock`
  std::unique_ptr<SectionClock> clock;  // null: sections are not timed
  PendingCollective all_reduce;         // of `partial`, between the halves of layers

  // The step's, from BeginStep on. Vectors are kept for their memory.
  int64_t rows = 0;
  std::vector<StepSequence> sequences;   // caches and chunks are borrowed until FinishStep
  std::vector<int64_t> positions;        // by row
  std::vector<SequenceRows> layer_rows;  // of the layer at hand
  // Of rows of logits: this rank's part, then every rank's.
  std::vector<int64_t> shard_targets;
  std::vector<RowStats> shard_stats, all_stats;
  std::vector<ArgMaxLogit> shard_arg_max, all_arg_max;
};

}  // namespace kvfold
