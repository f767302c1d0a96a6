// runtime/kernels/cuda/host_device.h: functions that host and device share. Headers that use this
// include nothing of CUDA, so that a machine without it tests them.
#pragma once

#ifdef __CUDACC__
#define KVFOLD_HOST_DEVICE __host__ __device__
#else
#define KVFOLD_HOST_DEVICE
#endif

namespace kvfold::cuda {

template <typename T>
KVFOLD_HOST_DEVICE constexpr T Least(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
KVFOLD_HOST_DEVICE constexpr T Most(T a, T b) {
  return a < b ? b : a;
}

}  // namespace kvfold::cuda
