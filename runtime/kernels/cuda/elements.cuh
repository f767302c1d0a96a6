// runtime/kernels/cuda/elements.cuh: elements of f32 and bf16 (as uint16_t) in device memory, one
// by one and 16 bytes at a time. After ptx.h.
#pragma once

#include "comm/device/dtype.h"
#include "runtime/kernels/cuda/host_device.h"

namespace kvfold::cuda {

KVFOLD_DEVICE float WideOf(uint16_t bits) {
  return ptx::FloatOf(static_cast<uint32_t>(bits) << 16);
}
KVFOLD_DEVICE float WideOf(float x) { return x; }

KVFOLD_DEVICE float LoadWide(const float* at) { return ptx::Load(at); }
KVFOLD_DEVICE float LoadWide(const uint16_t* at) { return WideOf(ptx::Load(at)); }
KVFOLD_DEVICE float LoadWide(const void* base, DType dtype, int64_t i) {
  return dtype == DType::kF32 ? LoadWide(static_cast<const float*>(base) + i)
                              : LoadWide(static_cast<const uint16_t*>(base) + i);
}
KVFOLD_DEVICE void StoreWide(float* at, float x) { ptx::Store(at, x); }
KVFOLD_DEVICE void StoreWide(uint16_t* at, float x) {
  ptx::Store(at, static_cast<uint16_t>(ptx::PackBf16x2(x, 0.0f) & 0xffffu));
}
KVFOLD_DEVICE void StoreWide(void* base, DType dtype, int64_t i, float x) {
  if (dtype == DType::kF32) {
    StoreWide(static_cast<float*>(base) + i, x);
  } else {
    StoreWide(static_cast<uint16_t*>(base) + i, x);
  }
}

// kCount neighbours as f32, in accesses of 16 bytes where kCount is 8, of one element where it
// is 1.
template <int kCount>
KVFOLD_DEVICE void LoadRun(const float* at, float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    x[0] = ptx::Load(at);
  } else {
    static_assert(kCount % 4 == 0);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const ptx::Vector128 v = ptx::Load(reinterpret_cast<const ptx::Vector128*>(at + i));
#pragma unroll
      for (int j = 0; j < 4; ++j) x[i + j] = ptx::FloatOf(v.words[j]);
    }
  }
}
template <int kCount>
KVFOLD_DEVICE void LoadRun(const uint16_t* at, float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    x[0] = WideOf(ptx::Load(at));
  } else {
    static_assert(kCount == 8);
    const ptx::Vector128 v = ptx::Load(reinterpret_cast<const ptx::Vector128*>(at));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[2 * j] = ptx::FloatOf(v.words[j] << 16);
      x[2 * j + 1] = ptx::FloatOf(v.words[j] & 0xffff0000u);
    }
  }
}
template <int kCount>
KVFOLD_DEVICE void StoreRun(float* at, const float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    ptx::Store(at, x[0]);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      ptx::Vector128 v;
#pragma unroll
      for (int j = 0; j < 4; ++j) v.words[j] = ptx::BitsOf(x[i + j]);
      ptx::Store(reinterpret_cast<ptx::Vector128*>(at + i), v);
    }
  }
}
template <int kCount>
KVFOLD_DEVICE void StoreRun(uint16_t* at, const float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    StoreWide(at, x[0]);
  } else {
    static_assert(kCount == 8);
    ptx::Vector128 v;
#pragma unroll
    for (int j = 0; j < 4; ++j) v.words[j] = ptx::PackBf16x2(x[2 * j], x[2 * j + 1]);
    ptx::Store(reinterpret_cast<ptx::Vector128*>(at), v);
  }
}

// 2 / (1 + exp(-2 x)) - 1: an infinite power gives -1, none gives 1. Off by 10 * 2^-24 at most:
// 2^-23 by the power's error (ptx.h), the rest by roundings.
KVFOLD_DEVICE float Tanh(float x) {
  return 2.0f * ptx::ReciprocalFast(1.0f + ptx::Exp2Fast(x * -2.885390081777927f)) - 1.0f;
}

// Dim `d` of a block's key bias turned by the place in the block that `place` has cosines [half]
// and sines [half] of.
KVFOLD_DEVICE float TurnedBias(const float* bias, const float* place, int half, int d) {
  if (d < half) {
    return ptx::Load(bias + d) * ptx::Load(place + d) -
           ptx::Load(bias + half + d) * ptx::Load(place + half + d);
  }
  return ptx::Load(bias + d) * ptx::Load(place + d - half) +
         ptx::Load(bias + d - half) * ptx::Load(place + d);
}

// Over a warp; every lane has the result.
KVFOLD_DEVICE float WarpSum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += ptx::ShuffleXor(x, lanes);
  return x;
}
KVFOLD_DEVICE float WarpMax(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = ptx::Max(x, ptx::ShuffleXor(x, lanes));
  return x;
}

// Elements [at, at + 8) of a row as bf16, rounded where they are f32. 16 or 32 bytes, so aligned.
KVFOLD_DEVICE ptx::Vector128 LoadAsBf16x8(const void* row, int64_t at, DType dtype) {
  if (dtype == DType::kBF16)
    return ptx::Load(
        reinterpret_cast<const ptx::Vector128*>(static_cast<const uint16_t*>(row) + at));
  float x[8];
  LoadRun(static_cast<const float*>(row) + at, x);
  ptx::Vector128 v;
#pragma unroll
  for (int j = 0; j < 4; ++j) v.words[j] = ptx::PackBf16x2(x[2 * j], x[2 * j + 1]);
  return v;
}

}  // namespace kvfold::cuda
