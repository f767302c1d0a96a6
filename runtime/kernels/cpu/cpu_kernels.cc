#include "runtime/kernels/cpu/cpu_kernels.h"

#include <algorithm>
#include <limits>

#include "comm/base/rounding.h"
#include "runtime/kernels/cpu/cpu_attention.h"
#include "runtime/kernels/cpu/cpu_ceilings.h"
#include "runtime/kernels/cpu/cpu_linear.h"
#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/cpu/rope.h"

namespace kvfold {
namespace {

// Rows that one thread takes at a time in kernels that are bound by memory: enough to be worth
// handing out.
constexpr int64_t kRowsAtATime = 8;

float* F32Row(TensorView view, int64_t row) { return reinterpret_cast<float*>(view.Row(row)); }
const float* F32Row(ConstTensorView view, int64_t row) {
  return reinterpret_cast<const float*>(view.Row(row));
}

class CpuKernels : public Kernels {
 public:
  CpuKernels(CpuDevice& device, DType activation_dtype, CpuIsa isa)
      : pool_(device.pool()),
        dtype_(activation_dtype),
        table_(cpu::KernelsFor(isa)),
        attention_(pool_, table_, activation_dtype) {
    if (dtype_ == DType::kBF16 && isa < CpuIsa::kAvx512Bf16) {
      throw InputError(
          fmt::format("dtype bf16 needs a processor with AVX-512 BF16 instructions, this one "
                      "offers {}: use --dtype f32",
                      CpuIsaName(isa)));
    }
    KVFOLD_CHECK(dtype_ == DType::kF32 || dtype_ == DType::kBF16, "dtype", DTypeName(dtype_));
    linear_ = isa == CpuIsa::kAmxBf16 && dtype_ == DType::kBF16
                  ? cpu::MakeOneDnnLinear(pool_, table_)
                  : cpu::MakePanelLinear(pool_, table_, dtype_);
  }

  std::string name() const override {
    return fmt::format("cpu {}, {}", CpuIsaName(table_.isa), DTypeName(dtype_));
  }
  DType activation_dtype() const override { return dtype_; }
  int64_t kv_interleave(DType kv_dtype) const override {
    return dtype_ == DType::kBF16 && kv_dtype != DType::kF32 ? 2 : 1;
  }
  int64_t ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const override {
    return attention_.ScratchBytes(heads, max_sequences);
  }

  int64_t PackedBytes(LinearShape shape) const override {
    return shape.n_out == 0 || shape.n_in == 0 ? 0 : linear_->PackedBytes(shape);
  }
  std::unique_ptr<PackedLinear> Pack(LinearShape shape, std::byte* memory,
                                     const WeightRows& rows) override {
    if (shape.n_out == 0 || shape.n_in == 0) return std::make_unique<EmptyLinear>(shape);
    return linear_->Pack(shape, memory, rows);
  }

  void CopyFromHost(ConstTensorView host, TensorView out) override {
    ForRows(host.rows,
            [&](int64_t row) { std::copy_n(F32Row(host, row), host.cols, F32Row(out, row)); });
  }

  void FillRopeTable(std::span<const int64_t> positions, std::span<const float> inv_freq,
                     TensorView out) override {
    ForRows(static_cast<int64_t>(positions.size()), [&](int64_t row) {
      cpu::FillRopeRow(positions[static_cast<size_t>(row)], inv_freq, F32Row(out, row));
    });
  }

  void FillSlotRope(std::span<const float> inv_freq, float* out) override {
    cpu::FillSlotRope(inv_freq, out);
  }

  void AddRmsNorm(TensorView residual, ConstTensorView delta, const float* delta_weight,
                  const float* weight, float eps, TensorView out) override {
    ForRows(residual.rows, [&](int64_t row) {
      table_.add_rms_norm(F32Row(residual, row),
                          delta.data != nullptr ? F32Row(delta, row) : nullptr, delta_weight,
                          weight, eps, residual.cols, out.Row(row), out.dtype);
    });
  }

  void Linear(ConstTensorView x, const PackedLinear& weight, const float* bias,
              TensorView y) override {
    const LinearShape shape = weight.shape();
    KVFOLD_CHECK(x.cols == shape.n_in && y.cols == shape.n_out && x.rows == y.rows &&
                     x.dtype == dtype_ && y.dtype == DType::kF32,
                 "x", x.cols, "n_in", shape.n_in, "y", y.cols, "n_out", shape.n_out, "rows",
                 x.rows);
    if (x.rows == 0 || shape.n_out == 0) return;
    if (shape.n_in == 0) {  // a rank without columns of this product adds nothing to the sum
      ForRows(y.rows, [&](int64_t row) {
        if (bias != nullptr) {
          std::copy_n(bias, y.cols, F32Row(y, row));
        } else {
          std::fill_n(F32Row(y, row), y.cols, 0.0f);
        }
      });
      return;
    }
    linear_->Run(x, weight, bias, y);
  }

  void RopeAppend(TensorView qkv, RopeTable rope, const AttentionHeads& heads,
                  std::span<const SequenceRows> sequences, const KeyBias& key_bias) override {
    const int64_t head_dim = heads.head_dim;
    for (const SequenceRows& sequence : sequences) {
      const KvLayout& layout = *sequence.view.layout;
      ForRows(sequence.n_tokens, [&](int64_t token) {
        const int64_t row = sequence.row_begin + token;
        const int64_t position = sequence.view.begin + token;
        const int64_t slot = position % kBlockTokens;
        const float* cos_sin = F32Row(rope, row);
        float* q = F32Row(qkv, row);
        float* k = q + heads.n_heads * head_dim;
        const float* v = k + heads.n_kv_heads * head_dim;
        const auto turn = [&](float* head, const float* norm) {
          if (norm != nullptr) {
            table_.add_rms_norm(head, nullptr, nullptr, norm, heads.norm_eps, head_dim,
                                reinterpret_cast<std::byte*>(head), DType::kF32);
          }
          cpu::RotateHead(head, cos_sin, head_dim);
        };
        for (int64_t h = 0; h < heads.n_heads; ++h) turn(q + h * head_dim, heads.query_norm);
        for (int64_t h = 0; h < heads.n_kv_heads; ++h) {
          float* const key = k + h * head_dim;
          std::byte* const head = sequence.view.Head(position / kBlockTokens, h);
          turn(key, heads.key_norm);
          if (layout.has_key_bias) {
            cpu::SubtractKeyBias(layout, head, slot, key_bias.bias + h * head_dim,
                                 F32Row(key_bias.block_rope, row), heads.slot_rope, key);
          }
          cpu::AppendHead(layout, head, slot, key, v + h * head_dim);
        }
      });
    }
  }

  void Attention(ConstTensorView qkv, const AttentionHeads& heads,
                 std::span<const SequenceRows> sequences, std::span<std::byte> scratch,
                 TensorView out, float* log_sum_exp) override {
    attention_.Run(qkv, heads, sequences, scratch, out, log_sum_exp);
  }

  void GatedActivation(ConstTensorView gate_up, Activation activation, TensorView out) override {
    const int64_t ffn = out.cols;
    if (ffn == 0) return;
    ForRows(gate_up.rows, [&](int64_t row) {
      const float* gate = F32Row(gate_up, row);
      table_.gated_activation(gate, gate + ffn, activation, ffn, out.Row(row), out.dtype);
    });
  }

  void SoftCap(TensorView logits, float cap) override {
    ForRows(logits.rows,
            [&](int64_t row) { table_.soft_cap(F32Row(logits, row), logits.cols, cap); });
  }

  void LogitStats(ConstTensorView logits, std::span<const int64_t> targets,
                  std::span<RowStats> stats) override {
    ForRows(logits.rows, [&](int64_t row) {
      RowStats& s = stats[static_cast<size_t>(row)];
      s = {-std::numeric_limits<float>::infinity(), 0.0f, 0.0f};
      if (logits.cols == 0) return;
      table_.max_sum_exp(F32Row(logits, row), logits.cols, &s.max, &s.sum_exp);
      const int64_t target = targets[static_cast<size_t>(row)];
      if (target >= 0 && target < logits.cols) s.target = F32Row(logits, row)[target];
    });
  }

  void ArgMax(ConstTensorView logits, std::span<ArgMaxLogit> largest) override {
    KVFOLD_CHECK(logits.rows == static_cast<int64_t>(largest.size()), "rows", logits.rows,
                 "largest", largest.size());
    ForRows(logits.rows, [&](int64_t row) {
      ArgMaxLogit& found = largest[static_cast<size_t>(row)];
      found = {};
      if (logits.cols == 0) return;
      const float* const x = F32Row(logits, row);
      found.column = static_cast<int32_t>(table_.arg_max(x, logits.cols));
      found.logit = x[found.column];
    });
  }

  Ceilings MeasureCeilings(std::span<const LinearShape> shapes, int64_t rows) override {
    return cpu::MeasureCpuCeilings(pool_, dtype_, shapes, rows);
  }

 private:
  class EmptyLinear : public PackedLinear {
   public:
    explicit EmptyLinear(LinearShape shape) : shape_(shape) {}
    LinearShape shape() const override { return shape_; }

   private:
    LinearShape shape_;
  };

  template <typename Body>
  void ForRows(int64_t rows, Body&& body) {
    pool_.ParallelFor(CeilDiv(rows, kRowsAtATime), [&](int64_t item, int) {
      const int64_t end = std::min(rows, (item + 1) * kRowsAtATime);
      for (int64_t row = item * kRowsAtATime; row < end; ++row) body(row);
    });
  }

  ThreadPool& pool_;
  DType dtype_;
  const cpu::KernelTable& table_;
  std::unique_ptr<cpu::Linear> linear_;
  cpu::CpuAttention attention_;
};

}  // namespace

std::unique_ptr<Kernels> MakeCpuKernels(CpuDevice& device, DType activation_dtype, CpuIsa isa) {
  return std::make_unique<CpuKernels>(device, activation_dtype, isa);
}

}  // namespace kvfold
