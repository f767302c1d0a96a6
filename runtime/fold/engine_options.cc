#include "runtime/fold/engine_options.h"

#include <algorithm>

#include "runtime/kernels/kernels.h"

namespace kvfold {

EngineOptions MakeEngineOptions(const Workload& workload, DType kv_dtype, bool allreduce_in_f32) {
  return {.kv_dtype = kv_dtype,
          .allreduce_in_f32 = allreduce_in_f32,
          .cache = {.tokens = workload.tokens,
                    .chunk = workload.chunk,
                    .sequences = workload.concurrency + workload.idle},
          .max_step_rows = workload.chunk * workload.concurrency,
          .max_logit_rows = std::max(kRowPadding, workload.concurrency),
          .max_gather_rows = workload.gather_rows};
}

}  // namespace kvfold
