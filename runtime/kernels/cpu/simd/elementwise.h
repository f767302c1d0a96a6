// runtime/kernels/cpu/simd/elementwise.h: kernels over one row. Formulas:
// runtime/kernels/kernels.h.
#pragma once

#include "comm/device/dtype.h"
#include "models/model_config.h"
#include "runtime/kernels/cpu/simd/vec.h"

namespace kvfold::cpu {
namespace {

KVFOLD_INLINE void StoreAs(void* out, DType dtype, int64_t i, F32v v) {
  if (dtype == DType::kF32) {
    Store(static_cast<float*>(out) + i, v);
  } else {
    StoreBf16(static_cast<uint16_t*>(out) + i, v);
  }
}
KVFOLD_INLINE void StoreAs(void* out, DType dtype, int64_t i, float x) {
  if (dtype == DType::kF32) {
    static_cast<float*>(out)[i] = x;
  } else {
    static_cast<uint16_t*>(out)[i] = Bf16Of(x);
  }
}

KVFOLD_INLINE float RmsFactor(F32v squares, float tail_squares, int64_t dim, float eps) {
  const float mean = (ReduceAdd(squares) + tail_squares) / static_cast<float>(dim);
  return 1.0f / __builtin_sqrtf(mean + eps);
}

void AddRmsNormRow(float* residual, const float* delta, const float* delta_weight,
                   const float* weight, float eps, int64_t dim, void* out, DType out_dtype) {
  float delta_factor = 1.0f;
  int64_t i = 0;
  if (delta_weight != nullptr) {
    F32v squares{};
    float tail_squares = 0.0f;
    for (; i + kLanes <= dim; i += kLanes) squares += Load(delta + i) * Load(delta + i);
    for (; i < dim; ++i) tail_squares += delta[i] * delta[i];
    delta_factor = RmsFactor(squares, tail_squares, dim, eps);
  }
  F32v squares{};
  float tail_squares = 0.0f;
  for (i = 0; i + kLanes <= dim; i += kLanes) {
    F32v x = Load(residual + i);
    if (delta != nullptr) {
      F32v more = Load(delta + i);
      if (delta_weight != nullptr) more = Load(delta_weight + i) * (more * delta_factor);
      x += more;
      Store(residual + i, x);
    }
    squares += x * x;
  }
  for (; i < dim; ++i) {
    if (delta_weight != nullptr) {
      residual[i] += delta_weight[i] * (delta[i] * delta_factor);
    } else if (delta != nullptr) {
      residual[i] += delta[i];
    }
    tail_squares += residual[i] * residual[i];
  }
  const float factor = RmsFactor(squares, tail_squares, dim, eps);
  for (i = 0; i + kLanes <= dim; i += kLanes) {
    StoreAs(out, out_dtype, i, Load(weight + i) * (Load(residual + i) * factor));
  }
  for (; i < dim; ++i) StoreAs(out, out_dtype, i, weight[i] * (residual[i] * factor));
}

struct Silu {
  KVFOLD_INLINE static F32v Of(F32v x) {
    // x held above -86 so that the power stays finite: silu(-86) is -4e-36. NaN stays NaN.
    const F32v held = Max(Splat(-86.0f), x);
    return held / (1.0f + Exp2<5>(held * -kLog2E));
  }
};

struct GeluTanh {
  KVFOLD_INLINE static F32v Of(F32v x) {
    // x held above -10, where the result is below 1e-37, so that the power stays finite.
    constexpr float kScale = 1.5957691216057308f;  // 2 sqrt(2 / pi)
    const F32v held = Max(Splat(-10.0f), x);
    return held / (1.0f + Exp2<5>(held * (1.0f + 0.044715f * held * held) * (-kLog2E * kScale)));
  }
};

template <typename Gate>
KVFOLD_INLINE void GatedRow(const float* gate, const float* up, int64_t n, void* out,
                            DType out_dtype) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    StoreAs(out, out_dtype, i, Gate::Of(Load(gate + i)) * Load(up + i));
  for (; i < n; ++i) StoreAs(out, out_dtype, i, Gate::Of(Splat(gate[i]))[0] * up[i]);
}

void GatedActivationRow(const float* gate, const float* up, Activation activation, int64_t n,
                        void* out, DType out_dtype) {
  switch (activation) {
    case Activation::kSilu:
      return GatedRow<Silu>(gate, up, n, out, out_dtype);
    case Activation::kGeluTanh:
      return GatedRow<GeluTanh>(gate, up, n, out, out_dtype);
  }
}

void SoftCapRow(float* x, int64_t n, float cap) {
  const float inverse = 1.0f / cap;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, cap * Tanh(Load(x + i) * inverse));
  for (; i < n; ++i) x[i] = cap * Tanh(Splat(x[i] * inverse))[0];
}

void MaxSumExp(const float* x, int64_t n, float* max, float* sum) {
  float best = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    F32v vector_best = Load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) vector_best = Max(vector_best, Load(x + i));
    best = ReduceMax(vector_best);
  }
  for (; i < n; ++i) best = Larger(best, x[i]);
  // Where all are -infinity their differences would be NaN, which is for those that hold one.
  const float from = best == -__builtin_inff() ? 0.0f : best;
  // A vocabulary has 1e5 terms of one sign: summed in f32 throughout, what each addition rounds off
  // adds up to 1e-5 of the sum. Short runs go into f32, runs into double.
  constexpr int64_t kRun = 16 * kLanes;
  double total = 0.0;
  for (i = 0; i + kLanes <= n;) {
    F32v run{};
    for (const int64_t end = Smaller(i + kRun, n / kLanes * kLanes); i < end; i += kLanes) {
      run += Exp2<5>((Load(x + i) - from) * kLog2E);
    }
    total += static_cast<double>(ReduceAdd(run));
  }
  for (; i < n; ++i) total += static_cast<double>(Exp2<5>(Splat((x[i] - from) * kLog2E))[0]);
  *max = best;
  *sum = static_cast<float>(total);
}

// The first NaN of x[0, n), or n.
int64_t FirstNan(const float* x, int64_t n) {
  int64_t i = 0;
  while (i < n && x[i] == x[i]) ++i;
  return i;
}

int64_t ArgMax(const float* x, int64_t n) {
  float best = -__builtin_inff();
  int64_t at = 0;
  int64_t i = 0;
  if (n >= kLanes) {
    F32v tops = Splat(best);
    I32v places{}, here, nans{};
    for (int lane = 0; lane < kLanes; ++lane) here[lane] = lane;
    for (; i + kLanes <= n; i += kLanes) {
      const F32v candidates = Load(x + i);
      const I32v larger = candidates > tops;
      nans |= candidates != candidates;
      tops = larger ? candidates : tops;
      places = larger ? here : places;
      here += kLanes;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      if (nans[lane] != 0) return FirstNan(x, n);
      if (tops[lane] > best || (tops[lane] == best && places[lane] < at)) {
        best = tops[lane];
        at = places[lane];
      }
    }
  }
  for (; i < n; ++i) {
    if (x[i] != x[i]) return i;
    if (x[i] > best) {
      best = x[i];
      at = i;
    }
  }
  return at;
}

void ToBf16(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) StoreBf16(out + i, Load(x + i));
  for (; i < n; ++i) out[i] = Bf16Of(x[i]);
}

}  // namespace
}  // namespace kvfold::cpu
