#include "runtime/fold/engine_options.h"

#include <algorithm>

#include "runtime/kernels/kernels.h"

namespace kvfold {

EngineOptions MakeEngineOptions(const Workload& workload, DType kv_dtype, bool sums_in_f32) {
  return {.kv_dtype = kv_dtype,
          .sums_in_f32 = sums_in_f32,
          .max_tokens = workload.tokens,
          .max_sequences = workload.concurrency + workload.idle,
          .max_chunk = workload.chunk,
          .max_step_rows = workload.chunk * workload.concurrency,
          .max_logit_rows = std::max(kRowPadding, workload.concurrency),
          .max_gather_rows = workload.gather_rows};
}

}  // namespace kvfold
