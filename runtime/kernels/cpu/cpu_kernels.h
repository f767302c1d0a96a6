// runtime/kernels/cpu/cpu_kernels.h: Kernels on the threads of one CPU rank.
#pragma once

#include <memory>

#include "comm/device/cpu_device.h"
#include "runtime/kernels/cpu/isa.h"
#include "runtime/kernels/kernels.h"

namespace kvfold {

// activation_dtype: kF32, or kBF16 from kAvx512Bf16 on (else InputError). The device must
// outlive the kernels.
std::unique_ptr<Kernels> MakeCpuKernels(CpuDevice& device, DType activation_dtype, CpuIsa isa);

}  // namespace kvfold
