#include "runtime/kernels/cuda/cuda_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "comm/base/rounding.h"
#include "runtime/kernels/cuda/cuda_sizing.h"
#include "runtime/kernels/cuda/dense_linear.h"
#include "runtime/kernels/cuda/device_tables.h"
#include "runtime/kernels/cuda/logit_rows.h"
#include "runtime/kernels/log2_scores.h"

namespace kvfold {
namespace cuda {
namespace {

class CudaKernels : public Kernels {
 public:
  CudaKernels(Device& device, std::unique_ptr<Executor> executor, DType dtype)
      : device_name_(device.name()),
        executor_(std::move(executor)),
        sizing_(dtype, executor_->n_multiprocessors()),
        own_(device.Allocate(CudaSizing::kOwnBytes)),
        tables_(*executor_, own_.data()) {
    KVFOLD_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "dtype", DTypeName(dtype));
    std::byte* at = own_.data() + CudaSizing::kTables * CudaSizing::kTableBytes;
    positions_ = reinterpret_cast<int64_t*>(at);
    at += CudaSizing::kMostPositions * 8;
    inv_freq_ = reinterpret_cast<float*>(at);
    at += CudaSizing::kMostPairs * 4;
    logit_rows_.emplace(*executor_, at);
  }

  std::string name() const override {
    return fmt::format("{}, {}", device_name_, DTypeName(sizing_.activation_dtype()));
  }
  DType activation_dtype() const override { return sizing_.activation_dtype(); }
  DType product_dtype() const override { return sizing_.product_dtype(); }
  int64_t kv_interleave(DType kv_dtype) const override { return sizing_.kv_interleave(kv_dtype); }
  int64_t ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const override {
    return sizing_.ScratchBytes(heads, max_sequences);
  }
  int64_t PackedBytes(LinearShape shape) const override { return sizing_.PackedBytes(shape); }
  int64_t OwnBytes() const override { return sizing_.OwnBytes(); }

  std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                     const WeightRows& rows) override {
    return PackDense(*executor_, activation_dtype(), shape, memory, rows);
  }
  void CopyFromHost(ConstTensorView host, TensorView out) override;
  void FillRopeTable(std::span<const int64_t> positions, std::span<const float> inv_freq,
                     TensorView out) override;
  void FillSlotRope(std::span<const float> inv_freq, float* out) override;
  void AddRmsNorm(TensorView residual, ConstTensorView delta, const float* delta_weight,
                  const float* weight, float eps, TensorView out) override;
  void Linear(ConstTensorView x, const PackedLinear& weight, const float* bias,
              TensorView y) override;
  void RopeAppend(TensorView qkv, RopeTable rope, const AttentionHeads& heads,
                  std::span<const SequenceRows> sequences, const KeyBias& key_bias) override;
  void Attention(ConstTensorView qkv, const AttentionHeads& heads,
                 std::span<const SequenceRows> sequences, std::span<std::byte> scratch,
                 TensorView out, float* log_sum_exp) override;
  void GatedActivation(ConstTensorView gate_up, Activation activation, TensorView out) override;
  void SoftCap(TensorView logits, float cap) override { logit_rows_->SoftCap(logits, cap); }
  void LogitStats(ConstTensorView logits, std::span<const int64_t> targets,
                  std::span<RowStats> stats) override {
    logit_rows_->Stats(logits, targets, stats);
  }
  void ArgMax(ConstTensorView logits, std::span<ArgMaxLogit> largest) override {
    logit_rows_->ArgMax(logits, largest);
  }
  Ceilings MeasureCeilings(std::span<const LinearShape> shapes, int64_t rows) override {
    return executor_->MeasureCeilings(shapes, rows, activation_dtype());
  }

 private:
  void CheckProductType(DType dtype) const {
    KVFOLD_CHECK(dtype == DType::kF32 || dtype == product_dtype(), "dtype", DTypeName(dtype));
  }
  BatchKind KindOf(const AttentionHeads& heads, const KvLayout& layout) const {
    const bool matrix = activation_dtype() == DType::kBF16 && layout.dtype != DType::kF32 &&
                        HasMatrixKernel(heads.head_dim);
    return {heads.head_dim, matrix, layout.dtype == DType::kI8, sizing_.blocks_at_a_time(),
            matrix ? MostPartialRows(heads.head_dim, sizing_.blocks_at_a_time()) : 0};
  }
  DeviceTables::Place TableOf(int64_t rows, const AttentionHeads& heads,
                              std::span<const SequenceRows> sequences) {
    KVFOLD_CHECK(heads.head_dim <= 256 && heads.head_dim % 2 == 0, "head_dim", heads.head_dim);
    const KvLayout& layout = *sequences[0].view.layout;
    for (const SequenceRows& sequence : sequences) {
      const KvView& view = sequence.view;
      KVFOLD_CHECK(view.layout->dtype == layout.dtype &&
                       view.layout->interleave == kRowMajorTiles &&
                       view.layer_offset_bytes == sequences[0].view.layer_offset_bytes,
                   "interleave", view.layout->interleave, "layer", view.layer_offset_bytes);
    }
    return tables_.Of(rows, heads, sequences, KindOf(heads, layout));
  }

  std::string device_name_;
  std::unique_ptr<Executor> executor_;
  CudaSizing sizing_;
  Buffer own_;
  DeviceTables tables_;
  int64_t* positions_;
  float* inv_freq_;
  std::vector<float> uploaded_freq_;  // what inv_freq_ holds
  std::optional<LogitRows> logit_rows_;
};

void CudaKernels::CopyFromHost(ConstTensorView host, TensorView out) {
  KVFOLD_CHECK(host.rows == out.rows && host.cols == out.cols && host.dtype == DType::kF32 &&
                   out.dtype == DType::kF32,
               "rows", host.rows, "out", out.rows, "cols", host.cols);
  if (host.elements() == 0) return;
  if (host.contiguous() && out.contiguous()) {
    executor_->Upload(host.data, out.data, host.elements() * 4);
    return;
  }
  for (int64_t row = 0; row < host.rows; ++row) {
    executor_->Upload(host.Row(row), out.Row(row), host.cols * 4);
  }
}

void CudaKernels::FillRopeTable(std::span<const int64_t> positions, std::span<const float> inv_freq,
                                TensorView out) {
  const auto half = static_cast<int64_t>(inv_freq.size());
  KVFOLD_CHECK(half <= CudaSizing::kMostPairs && out.cols == 2 * half &&
                   out.rows == static_cast<int64_t>(positions.size()),
               "inv_freq", half, "cols", out.cols, "rows", out.rows);
  if (positions.empty() || half == 0) return;
  // A model's few RoPEs are the same every step: each is uploaded once.
  auto known =
      std::search(uploaded_freq_.begin(), uploaded_freq_.end(), inv_freq.begin(), inv_freq.end());
  if (known == uploaded_freq_.end()) {
    const auto n_known = static_cast<int64_t>(uploaded_freq_.size());
    if (n_known + half > CudaSizing::kMostPairs) uploaded_freq_.clear();
    const auto at = static_cast<int64_t>(uploaded_freq_.size());
    executor_->Upload(inv_freq.data(), inv_freq_ + at, half * 4);
    known = uploaded_freq_.insert(uploaded_freq_.end(), inv_freq.begin(), inv_freq.end());
  }
  for (int64_t begin = 0; begin < out.rows; begin += CudaSizing::kMostPositions) {
    const int64_t rows = std::min(CudaSizing::kMostPositions, out.rows - begin);
    executor_->Upload(positions.data() + begin, positions_, rows * 8);
    RopeTableArgs args;
    args.positions = positions_;
    args.inv_freq = inv_freq_ + (known - uploaded_freq_.begin());
    args.out = reinterpret_cast<float*>(out.Row(begin));
    args.out_stride = out.stride;
    args.rows = static_cast<int>(rows);
    args.half = static_cast<int>(half);
    executor_->RopeTable(args);
  }
}

// As the table of positions has them: a warp that widens a key takes a row.
void CudaKernels::FillSlotRope(std::span<const float> inv_freq, float* out) {
  std::vector<int64_t> places(kBlockTokens);
  std::iota(places.begin(), places.end(), 0);
  FillRopeTable(places, inv_freq,
                F32View(out, kBlockTokens, 2 * static_cast<int64_t>(inv_freq.size())));
}

void CudaKernels::AddRmsNorm(TensorView residual, ConstTensorView delta, const float* delta_weight,
                             const float* weight, float eps, TensorView out) {
  KVFOLD_CHECK(residual.dtype == DType::kF32 && out.dtype == activation_dtype() &&
                   out.rows == residual.rows && out.cols == residual.cols,
               "rows", residual.rows, "out", out.rows, "cols", residual.cols);
  if (residual.elements() == 0) return;
  AddRmsNormArgs args;
  RowAccess access;
  if (delta.data != nullptr) {
    CheckProductType(delta.dtype);
    KVFOLD_CHECK(delta.rows == residual.rows && delta.cols == residual.cols, "delta", delta.cols);
    args.delta = delta.data;
    args.delta_stride = delta.stride;
    args.delta_dtype = delta.dtype;
    args.delta_weight = delta_weight;
    access.Row(delta_weight, delta.cols, DType::kF32, 1);
    access.Row(delta.data, delta.stride, delta.dtype, delta.rows);
  }
  access.Row(residual.data, residual.stride, DType::kF32, residual.rows);
  access.Row(out.data, out.stride, out.dtype, out.rows);
  access.Row(weight, residual.cols, DType::kF32, 1);
  access.Cols(residual.cols);
  args.residual = static_cast<float*>(residual.data);
  args.residual_stride = residual.stride;
  args.weight = weight;
  args.out = out.data;
  args.out_stride = out.stride;
  args.out_dtype = out.dtype;
  args.rows = Int(residual.rows, "rows");
  args.dim = Int(residual.cols, "columns");
  args.eps = eps;
  args.wide = access.wide;
  executor_->AddRmsNorm(args);
}

void CudaKernels::Linear(ConstTensorView x, const PackedLinear& weight, const float* bias,
                         TensorView y) {
  const LinearShape shape = weight.shape();
  KVFOLD_CHECK(x.cols == shape.n_in && y.cols == shape.n_out && x.rows == y.rows &&
                   x.dtype == activation_dtype(),
               "x", x.cols, "n_in", shape.n_in, "y", y.cols, "n_out", shape.n_out, "rows", x.rows);
  CheckProductType(y.dtype);
  if (x.rows == 0 || shape.n_out == 0) return;
  if (shape.n_in == 0) {  // a rank without columns of this product adds nothing to the sum
    FillRowsArgs args;
    args.bias = bias;
    args.y = y.data;
    args.stride = y.stride;
    args.rows = Int(y.rows, "rows");
    args.cols = Int(y.cols, "columns");
    args.dtype = y.dtype;
    executor_->FillRows(args);
    return;
  }
  ProductArgs args;
  args.x = x.data;
  args.weight = static_cast<const DenseLinear&>(weight).memory();
  args.bias = bias;
  args.y = y.data;
  args.x_stride = x.stride;
  args.y_stride = y.stride;
  args.rows = x.rows;
  args.shape = shape;
  args.dtype = x.dtype;
  args.y_dtype = y.dtype;
  executor_->Product(args);
}

void CudaKernels::RopeAppend(TensorView qkv, RopeTable rope, const AttentionHeads& heads,
                             std::span<const SequenceRows> sequences, const KeyBias& key_bias) {
  CheckProductType(qkv.dtype);
  KVFOLD_CHECK(qkv.cols == (heads.n_heads + 2 * heads.n_kv_heads) * heads.head_dim &&
                   rope.cols == heads.head_dim && rope.rows == qkv.rows,
               "qkv", qkv.cols, "rope", rope.cols, "rows", rope.rows);
  if (sequences.empty() || qkv.rows == 0) return;
  const DeviceTables::Place place = TableOf(qkv.rows, heads, sequences);
  const KvLayout& layout = *sequences[0].view.layout;
  RopeAppendArgs args;
  args.sequences = reinterpret_cast<const BatchSequence*>(place.memory + place.at.sequences);
  args.blocks = reinterpret_cast<const unsigned char* const*>(place.memory + place.at.blocks);
  args.sequence_of = reinterpret_cast<const int*>(place.memory + place.at.sequence_of);
  args.rope = static_cast<const float*>(rope.data);
  args.rope_stride = rope.stride;
  args.qkv = qkv.data;
  args.qkv_stride = qkv.stride;
  args.qkv_dtype = qkv.dtype;
  args.layer_offset_bytes = sequences[0].view.layer_offset_bytes;
  args.head_bytes = layout.head_bytes();
  args.tile_bytes = layout.tile_bytes();
  args.kv_dtype = layout.dtype;
  args.rows = Int(qkv.rows, "rows");
  args.n_heads = Int(heads.n_heads, "heads");
  args.n_kv_heads = Int(heads.n_kv_heads, "heads");
  args.head_dim = static_cast<int>(heads.head_dim);
  // A half of a head begins on 16 bytes as the row does, in the cache on 8.
  RowAccess access;
  if (layout.has_key_bias) {
    args.key_bias = key_bias.bias;
    args.block_rope = static_cast<const float*>(key_bias.block_rope.data);
    args.block_rope_stride = key_bias.block_rope.stride;
    args.slot_rope = heads.slot_rope;
    access.Row(key_bias.bias, heads.head_dim, DType::kF32, heads.n_kv_heads);
    access.Row(key_bias.block_rope.data, key_bias.block_rope.stride, DType::kF32, qkv.rows);
    access.Row(heads.slot_rope, heads.head_dim, DType::kF32, kBlockTokens);
  }
  if (heads.query_norm != nullptr) {
    args.query_norm = heads.query_norm;
    args.key_norm = heads.key_norm;
    args.norm_eps = heads.norm_eps;
    access.Row(heads.query_norm, heads.head_dim, DType::kF32, 1);
    access.Row(heads.key_norm, heads.head_dim, DType::kF32, 1);
  }
  access.Row(qkv.data, qkv.stride, qkv.dtype, qkv.rows);
  access.Row(rope.data, rope.stride, rope.dtype, rope.rows);
  access.Cols(heads.head_dim / 2);
  args.wide = access.wide;
  args.lanes_per_head = RopeLanesPerHead(args.head_dim, args.wide);
  executor_->RopeAppend(args);
}

void CudaKernels::Attention(ConstTensorView qkv, const AttentionHeads& heads,
                            std::span<const SequenceRows> sequences, std::span<std::byte> scratch,
                            TensorView out, float* log_sum_exp) {
  CheckProductType(qkv.dtype);
  KVFOLD_CHECK(out.dtype == activation_dtype() && out.rows == qkv.rows &&
                   out.cols == heads.n_heads * heads.head_dim && heads.softmax_scale > 0.0f,
               "out", out.cols, "rows", out.rows, "qkv rows", qkv.rows, "scale",
               heads.softmax_scale);
  if (sequences.empty() || qkv.rows == 0) return;
  const DeviceTables::Place place = TableOf(qkv.rows, heads, sequences);
  const KvLayout& layout = *sequences[0].view.layout;
  const BatchKind kind = KindOf(heads, layout);
  AttentionArgs args;
  args.sequences = reinterpret_cast<const BatchSequence*>(place.memory + place.at.sequences);
  args.blocks = reinterpret_cast<const unsigned char* const*>(place.memory + place.at.blocks);
  args.q = qkv.data;
  args.q_stride = qkv.stride;
  args.q_dtype = qkv.dtype;
  args.out = out.data;
  args.out_stride = out.stride;
  args.out_dtype = out.dtype;
  args.log_sum_exp = log_sum_exp;
  args.layer_offset_bytes = sequences[0].view.layer_offset_bytes;
  args.head_bytes = layout.head_bytes();
  args.tile_bytes = layout.tile_bytes();
  args.kv_dtype = layout.dtype;
  args.head_dim = static_cast<int>(heads.head_dim);
  args.n_heads = Int(heads.n_heads, "heads");
  const Log2Scores scores = InLog2(heads);
  args.score_scale = scores.scale;
  args.score_cap = scores.cap;
  if (layout.has_key_bias) {
    KVFOLD_CHECK(heads.slot_rope != nullptr && heads.score_cap == 0.0f, "score_cap",
                 heads.score_cap);
    args.slot_rope = heads.slot_rope;
  }
  if (kind.matrix) {
    RowAccess access;
    access.Row(qkv.data, qkv.stride, qkv.dtype, qkv.rows);
    access.Row(out.data, out.stride, out.dtype, out.rows);
    KVFOLD_CHECK(access.wide, "q stride", qkv.stride, "out stride", out.stride);
    KVFOLD_CHECK(static_cast<int64_t>(scratch.size()) >= ScratchBytes(heads, 1), "scratch",
                 scratch.size());
    args.partial_out = reinterpret_cast<float*>(scratch.data());
    args.partial_stats =
        reinterpret_cast<PartialStats*>(scratch.data() + kind.partial_rows * heads.head_dim * 4);
  }
  const auto* const items = reinterpret_cast<const AttentionItem*>(place.memory + place.at.items);
  const auto* const merges = reinterpret_cast<const MergeItem*>(place.memory + place.at.merges);
  for (const AttentionWave& wave : place.table->waves()) {
    // Few rows over many keys take longest, and leave much of a multiprocessor free.
    if (wave.n_few > 0) {
      args.items = items + wave.few_begin;
      executor_->Attention(AttentionKernel::kMatrixFew, args, wave.n_few);
    }
    if (wave.n_many > 0) {
      args.items = items + wave.many_begin;
      executor_->Attention(kind.matrix ? AttentionKernel::kMatrixMany : AttentionKernel::kPlain,
                           args, wave.n_many);
    }
    if (wave.n_merges > 0) {
      args.merges = merges + wave.merge_begin;
      executor_->AttentionMerge(args, wave.n_merges, wave.most_merge_rows);
    }
  }
}

void CudaKernels::GatedActivation(ConstTensorView gate_up, Activation activation, TensorView out) {
  CheckProductType(gate_up.dtype);
  KVFOLD_CHECK(
      gate_up.cols == 2 * out.cols && gate_up.rows == out.rows && out.dtype == activation_dtype(),
      "gate_up", gate_up.cols, "out", out.cols, "rows", out.rows);
  if (out.elements() == 0) return;
  RowAccess access;
  access.Row(gate_up.data, gate_up.stride, gate_up.dtype, gate_up.rows);
  access.Row(out.data, out.stride, out.dtype, out.rows);
  access.Cols(out.cols);
  GatedActivationArgs args;
  args.gate_up = gate_up.data;
  args.in_stride = gate_up.stride;
  args.in_dtype = gate_up.dtype;
  args.out = out.data;
  args.out_stride = out.stride;
  args.out_dtype = out.dtype;
  args.rows = Int(out.rows, "rows");
  args.ffn = Int(out.cols, "columns");
  args.activation = activation;
  args.wide = access.wide;
  executor_->GatedActivation(args);
}

}  // namespace
}  // namespace cuda

std::unique_ptr<Kernels> MakeCudaKernels(Device& device, std::unique_ptr<cuda::Executor> executor,
                                         DType activation_dtype) {
  return std::make_unique<cuda::CudaKernels>(device, std::move(executor), activation_dtype);
}

}  // namespace kvfold
