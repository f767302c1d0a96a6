// runtime/fold/engine_options.h: what an engine is made for, and the sizes that follow from it.
#pragma once

#include <cstdint>

#include "comm/device/dtype.h"
#include "shard/kv_cache.h"

namespace kvfold {

// What is going to be run.
struct Workload {
  int64_t tokens = 0;       // positions that all sequences together may hold
  int64_t chunk = 0;        // tokens that one sequence may bring to a step
  int64_t concurrency = 1;  // sequences that may be in a step
  int64_t idle = 0;         // further sequences, which hold a prefix and wait to be forked
  int64_t gather_rows = 1;  // rows of logits wanted whole at a time
};

struct EngineOptions {
  DType kv_dtype = DType::kF32;
  bool allreduce_in_f32 =
      false;  // of half-layers over all ranks; else as products leave the kernels
  CacheLimits cache;
  int64_t max_step_rows = 0;    // tokens that all may bring
  int64_t max_logit_rows = 64;  // rows of logits computed at a time
  int64_t max_gather_rows = 1;  // rows of logits gathered at a time
};

// The only place where these are worked out.
EngineOptions MakeEngineOptions(const Workload& workload, DType kv_dtype, bool allreduce_in_f32);

}  // namespace kvfold
