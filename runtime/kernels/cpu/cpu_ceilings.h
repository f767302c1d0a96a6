// runtime/kernels/cpu/cpu_ceilings.h: what this processor does at best, to hold our kernels
// against.
#pragma once

#include <span>

#include "comm/device/thread_pool.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cpu {

// Products are oneDNN's on packed weights, every thread its own share of the output columns, inputs
// that stay in its caches.
Ceilings MeasureCpuCeilings(ThreadPool& pool, DType dtype, std::span<const LinearShape> shapes,
                            int64_t rows);

}  // namespace kvfold::cpu
