// runtime/kernels/cuda/logit_rows.h: what is asked of rows of logits, a batch of rows at a time
// through device memory of a fixed size.
#pragma once

#include <span>
#include <vector>

#include "comm/device/tensor_view.h"
#include "runtime/kernels/cuda/executor.h"
#include "runtime/kernels/cuda/row_args.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

class LogitRows {
 public:
  static constexpr int64_t kMostStatRows = 1024;  // of one batch
  static constexpr int64_t kMostArgMaxRows = 256;
  static constexpr int64_t kBytes =
      kMostStatRows * (8 + 3 * 4) +
      kMostArgMaxRows * kMostArgMaxParts * static_cast<int64_t>(sizeof(ArgMaxPart));

  // `memory`: kBytes on the device, borrowed, as `executor` is.
  LogitRows(Executor& executor, std::byte* memory);

  // Kernels::LogitStats, ArgMax, SoftCap.
  void Stats(ConstTensorView logits, std::span<const int64_t> targets, std::span<RowStats> stats);
  void ArgMax(ConstTensorView logits, std::span<ArgMaxLogit> largest);
  void SoftCap(TensorView logits, float cap);

 private:
  Executor& executor_;
  int64_t* targets_;
  float* stats_;
  ArgMaxPart* arg_max_;
  std::vector<float> host_stats_;  // these are kept between calls for their memory
  std::vector<ArgMaxPart> host_arg_max_;
};

}  // namespace kvfold::cuda
