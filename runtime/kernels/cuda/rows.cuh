// runtime/kernels/cuda/rows.cuh: kernels that work row by row. Formulas: runtime/kernels/kernels.h.
// A row's bits depend on that row and its length alone. After ptx.h.
#pragma once

#include "runtime/kernels/cuda/elements.cuh"
#include "runtime/kernels/cuda/row_args.h"

namespace kvfold::cuda {

inline constexpr int kRowSharedBytes = 64;  // two numbers a warp

// Over a block of kRowThreads; every thread has the result. `combine` adds or takes the larger.
template <bool kLargest>
KVFOLD_DEVICE float BlockReduce(float x) {
  float* const by_warp = reinterpret_cast<float*>(ptx::Shared());
  x = kLargest ? WarpMax(x) : WarpSum(x);
  if (ptx::ThreadX() % 32 == 0) ptx::StoreShared(by_warp + ptx::ThreadX() / 32, x);
  ptx::SyncThreads();
  float all = ptx::LoadShared(by_warp);
  for (int warp = 1; warp < kRowThreads / 32; ++warp) {
    const float other = ptx::LoadShared(by_warp + warp);
    all = kLargest ? ptx::Max(all, other) : all + other;
  }
  ptx::SyncThreads();  // before the next reduction writes
  return all;
}

// Block x: row x. kCount neighbours a thread.
template <int kCount, typename Delta, typename Out>
KVFOLD_DEVICE void AddRmsNormBody(const AddRmsNormArgs& args) {
  const int64_t row = ptx::BlockX();
  float* const residual = args.residual + row * args.residual_stride;
  const Delta* const delta = args.delta == nullptr
                                 ? nullptr
                                 : static_cast<const Delta*>(args.delta) + row * args.delta_stride;
  Out* const out = static_cast<Out*>(args.out) + row * args.out_stride;
  const auto factor_of = [&](float squares) {
    const float mean = BlockReduce<false>(squares) / static_cast<float>(args.dim);
    return 1.0f / ptx::Sqrt(mean + args.eps);
  };
  float delta_factor = 1.0f;
  if (args.delta_weight != nullptr) {
    float squares = 0.0f;
    for (int i = ptx::ThreadX() * kCount; i < args.dim; i += kRowThreads * kCount) {
      float x[kCount];
      LoadRun(delta + i, x);
#pragma unroll
      for (int j = 0; j < kCount; ++j) squares += x[j] * x[j];
    }
    delta_factor = factor_of(squares);
  }
  float squares = 0.0f;
  for (int i = ptx::ThreadX() * kCount; i < args.dim; i += kRowThreads * kCount) {
    float x[kCount];
    LoadRun(residual + i, x);
    if (delta != nullptr) {
      float more[kCount];
      LoadRun(delta + i, more);
      if (args.delta_weight != nullptr) {
        float weight[kCount];
        LoadRun(args.delta_weight + i, weight);
#pragma unroll
        for (int j = 0; j < kCount; ++j) more[j] = weight[j] * (more[j] * delta_factor);
      }
#pragma unroll
      for (int j = 0; j < kCount; ++j) x[j] += more[j];
      StoreRun(residual + i, x);
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) squares += x[j] * x[j];
  }
  const float factor = factor_of(squares);
  for (int i = ptx::ThreadX() * kCount; i < args.dim; i += kRowThreads * kCount) {
    float x[kCount], weight[kCount];
    LoadRun(residual + i, x);  // what this thread wrote: still near
    LoadRun(args.weight + i, weight);
#pragma unroll
    for (int j = 0; j < kCount; ++j) x[j] = weight[j] * (x[j] * factor);
    StoreRun(out + i, x);
  }
}

// x / (1 + exp(-x)); for x below -88 the power is infinite and the result -0.
KVFOLD_DEVICE float Silu(float x) { return x / (1.0f + ptx::Exp(-x)); }

KVFOLD_DEVICE float GeluTanh(float x) {
  constexpr float kScale = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  return x / (1.0f + ptx::Exp(-kScale * (x * (1.0f + 0.044715f * x * x))));
}

// Block (x, y): columns of row x, kRowThreads of them at a time.
KVFOLD_DEVICE void SoftCapBody(const SoftCapArgs& args) {
  const int column = ptx::BlockY() * kRowThreads + ptx::ThreadX();
  if (column >= args.cols) return;
  float* const logit = args.logits + ptx::BlockX() * args.stride + column;
  ptx::Store(logit, args.cap * Tanh(ptx::Load(logit) / args.cap));
}

// Block (x, y): columns of row x, kRowThreads * kCount of them at a time.
template <int kCount, typename In, typename Out>
KVFOLD_DEVICE void GatedActivationBody(const GatedActivationArgs& args) {
  const int64_t row = ptx::BlockX();
  const In* const gate = static_cast<const In*>(args.gate_up) + row * args.in_stride;
  Out* const out = static_cast<Out*>(args.out) + row * args.out_stride;
  const int i = (ptx::BlockY() * kRowThreads + ptx::ThreadX()) * kCount;
  if (i >= args.ffn) return;
  float x[kCount], up[kCount];
  LoadRun(gate + i, x);
  LoadRun(gate + args.ffn + i, up);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    x[j] = (args.activation == Activation::kSilu ? Silu(x[j]) : GeluTanh(x[j])) * up[j];
  }
  StoreRun(out + i, x);
}

// Block x: row x.
KVFOLD_DEVICE void LogitStatsBody(const LogitStatsArgs& args) {
  const int64_t row = ptx::BlockX();
  const float* const logits = args.logits + row * args.stride;
  float top = ptx::FloatOf(0xff800000u);
  for (int64_t i = ptx::ThreadX(); i < args.cols; i += kRowThreads) {
    top = ptx::Max(top, ptx::Load(logits + i));
  }
  top = BlockReduce<true>(top);
  // Where all are -infinity their differences would be NaN, which is for those that hold one.
  const float from = top == ptx::FloatOf(0xff800000u) ? 0.0f : top;
  float sum = 0.0f;
  for (int64_t i = ptx::ThreadX(); i < args.cols; i += kRowThreads) {
    sum += ptx::Exp(ptx::Load(logits + i) - from);
  }
  sum = BlockReduce<false>(sum);
  if (ptx::ThreadX() != 0) return;
  const int64_t target = ptx::Load(args.targets + row);
  ptx::Store(args.stats + row * 3, top);
  ptx::Store(args.stats + row * 3 + 1, sum);
  ptx::Store(args.stats + row * 3 + 2,
             target >= 0 && target < args.cols ? ptx::Load(logits + target) : 0.0f);
}

// A NaN, once taken, stays.
KVFOLD_DEVICE void TakeLarger(ArgMaxPart& largest, const ArgMaxPart& other) {
  if (other.logit > largest.logit || other.logit != other.logit ||
      (other.logit == largest.logit && other.column < largest.column)) {
    largest = other;
  }
}

// Block (x, y): part y of row x. kCount neighbours a thread.
template <int kCount>
KVFOLD_DEVICE void ArgMaxBody(const ArgMaxArgs& args) {
  const int64_t row = ptx::BlockX();
  const float* const logits = args.logits + row * args.stride;
  const int begin = ptx::BlockY() * args.part_cols;
  const int end = Least(args.cols, begin + args.part_cols);
  ArgMaxPart largest = {ptx::FloatOf(0xff800000u), begin};
  for (int i = begin + ptx::ThreadX() * kCount; i < end; i += kRowThreads * kCount) {
    float x[kCount];
    LoadRun(logits + i, x);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (x[j] > largest.logit || x[j] != x[j]) largest = {x[j], i + j};
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const float logit = ptx::ShuffleXor(largest.logit, lanes);
    const float column =
        ptx::ShuffleXor(ptx::FloatOf(static_cast<uint32_t>(largest.column)), lanes);
    TakeLarger(largest, {logit, static_cast<int>(ptx::BitsOf(column))});
  }
  float* const by_warp = reinterpret_cast<float*>(ptx::Shared());  // logit, column
  if (ptx::ThreadX() % 32 == 0) {
    ptx::StoreShared(by_warp + ptx::ThreadX() / 16, largest.logit);
    ptx::StoreShared(by_warp + ptx::ThreadX() / 16 + 1,
                     ptx::FloatOf(static_cast<uint32_t>(largest.column)));
  }
  ptx::SyncThreads();
  if (ptx::ThreadX() != 0) return;
  for (int warp = 1; warp < kRowThreads / 32; ++warp) {
    const float column = ptx::LoadShared(by_warp + 2 * warp + 1);
    TakeLarger(largest,
               {ptx::LoadShared(by_warp + 2 * warp), static_cast<int>(ptx::BitsOf(column))});
  }
  ptx::Store(args.parts + row * args.n_parts + ptx::BlockY(), largest);
}

// Block (x, y): kRowThreads columns of row x.
template <typename Out>
KVFOLD_DEVICE void FillRowsBody(const FillRowsArgs& args) {
  const int i = ptx::BlockY() * kRowThreads + ptx::ThreadX();
  if (i >= args.cols) return;
  StoreWide(static_cast<Out*>(args.y) + static_cast<int64_t>(ptx::BlockX()) * args.stride + i,
            args.bias == nullptr ? 0.0f : ptx::Load(args.bias + i));
}

}  // namespace kvfold::cuda
