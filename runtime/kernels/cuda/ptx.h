// runtime/kernels/cuda/ptx.h: all that kernels take from the machine: indices, shared memory,
// collectives of a warp, matrix products, asynchronous copies. The one header of intrinsics and
// inline PTX (of sm_80 and later).
//
// Kernel bodies (*.cuh) do not include this file: who includes them includes it before, or the
// emulator of the same names (tests/support/simt/ptx_emulated.h), so that the very same bodies run
// on a CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#define KVFOLD_DEVICE __device__ __forceinline__

namespace kvfold::ptx {

struct alignas(16) Vector128 {
  uint32_t words[4];
};
struct alignas(8) Vector64 {
  uint32_t words[2];
};

KVFOLD_DEVICE int ThreadX() { return static_cast<int>(threadIdx.x); }
KVFOLD_DEVICE int BlockDimX() { return static_cast<int>(blockDim.x); }
KVFOLD_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
KVFOLD_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }

// Dynamic shared memory, aligned to 16 bytes. Its contents start undefined.
KVFOLD_DEVICE unsigned char* Shared() {
  extern __shared__ __align__(16) unsigned char kvfold_shared_memory[];
  return kvfold_shared_memory;
}

KVFOLD_DEVICE void SyncThreads() { __syncthreads(); }
KVFOLD_DEVICE void SyncWarp() { __syncwarp(); }
KVFOLD_DEVICE float ShuffleXor(float x, int lanes) {
  return __shfl_xor_sync(0xffffffffu, x, lanes);
}

KVFOLD_DEVICE uint32_t BitsOf(float x) { return __float_as_uint(x); }
KVFOLD_DEVICE float FloatOf(uint32_t bits) { return __uint_as_float(bits); }

// 2^x within 2^-22 of itself, 0 below the normal numbers.
KVFOLD_DEVICE float Exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x within its last bit.
KVFOLD_DEVICE float ReciprocalFast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KVFOLD_DEVICE float Exp2(float x) { return exp2f(x); }
KVFOLD_DEVICE float Exp(float x) { return expf(x); }
KVFOLD_DEVICE float Log2(float x) { return log2f(x); }
KVFOLD_DEVICE float Sqrt(float x) { return sqrtf(x); }
KVFOLD_DEVICE float Abs(float x) { return fabsf(x); }
KVFOLD_DEVICE float Max(float a, float b) { return fmaxf(a, b); }  // a number rather than NaN
KVFOLD_DEVICE float RoundToInteger(float x) { return rintf(x); }   // ties to even
KVFOLD_DEVICE double Cos(double x) { return cos(x); }
KVFOLD_DEVICE double Sin(double x) { return sin(x); }

// bf16 of `low` in bits [0, 16), of `high` above; to nearest, ties to even, NaN stays NaN.
KVFOLD_DEVICE uint32_t PackBf16x2(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Accesses of one element. `Shared` ones are of shared memory, the others of device memory.
template <typename T>
KVFOLD_DEVICE T Load(const T* at) {
  return *at;
}
template <typename T>
KVFOLD_DEVICE void Store(T* at, T value) {
  *at = value;
}
template <typename T>
KVFOLD_DEVICE T LoadShared(const T* at) {
  return *at;
}
template <typename T>
KVFOLD_DEVICE void StoreShared(T* at, T value) {
  *at = value;
}

// 16 bytes from shared to shared or to and from device memory are Load/Store of a Vector128.

KVFOLD_DEVICE uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Starts a copy of 16 bytes, past the first-level cache. It is there after its group's wait, for
// this thread; for others after a barrier too.
KVFOLD_DEVICE void CpAsync16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               :
               : "r"(SharedAddress(shared)), "l"(global)
               : "memory");
}
KVFOLD_DEVICE void CpAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all but the last kPending groups.
template <int kPending>
KVFOLD_DEVICE void CpAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Loads four 8 x 8 matrices of bf16. Lane l names row l % 8 of matrix l / 8: 16 bytes of shared
// memory. r[i] of lane l is then elements (l / 4, 2 (l % 4)) and (l / 4, 2 (l % 4) + 1) of matrix
// i; of its transpose in the second.
KVFOLD_DEVICE void LdMatrixX4(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(shared_row))
               : "memory");
}
KVFOLD_DEVICE void LdMatrixX4Trans(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(shared_row))
               : "memory");
}

// d[16][8] += a[16][16] b[16][8], bf16 in, f32 sums. With g = lane / 4, t = 2 (lane % 4): a[0] is
// (g, t..), a[1] (g + 8, t..), a[2] (g, t + 8..), a[3] (g + 8, t + 8..), each two neighbours of a
// row; b0 is (t.., g), b1 (t + 8.., g), two neighbours of a column; d[0], d[1] are (g, t), (g, t +
// 1), d[2], d[3] (g + 8, t), (g + 8, t + 1).
KVFOLD_DEVICE void MmaBf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace kvfold::ptx
