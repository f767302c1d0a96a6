#include "runtime/kernels/cuda/logit_rows.h"

#include <algorithm>
#include <cmath>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold::cuda {

LogitRows::LogitRows(Executor& executor, std::byte* memory) : executor_(executor) {
  targets_ = reinterpret_cast<int64_t*>(memory);
  memory += kMostStatRows * 8;
  stats_ = reinterpret_cast<float*>(memory);
  memory += kMostStatRows * 3 * 4;
  arg_max_ = reinterpret_cast<ArgMaxPart*>(memory);
}

void LogitRows::SoftCap(TensorView logits, float cap) {
  if (logits.elements() == 0) return;
  SoftCapArgs args;
  args.logits = reinterpret_cast<float*>(logits.data);
  args.stride = logits.stride;
  args.rows = Int(logits.rows, "rows");
  args.cols = Int(logits.cols, "columns");
  args.cap = cap;
  executor_.SoftCap(args);
}

void LogitRows::Stats(ConstTensorView logits, std::span<const int64_t> targets,
                      std::span<RowStats> stats) {
  KVFOLD_CHECK(logits.dtype == DType::kF32 && logits.rows == static_cast<int64_t>(targets.size()) &&
                   targets.size() == stats.size(),
               "rows", logits.rows, "targets", targets.size(), "stats", stats.size());
  for (int64_t begin = 0; begin < logits.rows; begin += kMostStatRows) {
    const int64_t rows = std::min(kMostStatRows, logits.rows - begin);
    executor_.Upload(targets.data() + begin, targets_, rows * 8);
    LogitStatsArgs args;
    args.logits = reinterpret_cast<const float*>(logits.Row(begin));
    args.stride = logits.stride;
    args.cols = logits.cols;
    args.targets = targets_;
    args.stats = stats_;
    args.rows = static_cast<int>(rows);
    executor_.LogitStats(args);
    host_stats_.resize(static_cast<size_t>(rows * 3));
    executor_.Download(stats_, host_stats_.data(), rows * 3 * 4);
    for (int64_t row = 0; row < rows; ++row) {
      const float* const from = host_stats_.data() + row * 3;
      stats[static_cast<size_t>(begin + row)] = {from[0], from[1], from[2]};
    }
  }
}

void LogitRows::ArgMax(ConstTensorView logits, std::span<ArgMaxLogit> largest) {
  KVFOLD_CHECK(logits.dtype == DType::kF32 && logits.rows == static_cast<int64_t>(largest.size()),
               "rows", logits.rows, "largest", largest.size());
  std::ranges::fill(largest, ArgMaxLogit{});
  if (logits.elements() == 0) return;
  const int64_t part_cols = ArgMaxColumns(logits.cols);
  const int64_t n_parts = CeilDiv(logits.cols, part_cols);
  RowAccess access;
  access.Row(logits.data, logits.stride, DType::kF32, logits.rows);
  access.Cols(logits.cols);
  for (int64_t begin = 0; begin < logits.rows; begin += kMostArgMaxRows) {
    const int64_t rows = std::min(kMostArgMaxRows, logits.rows - begin);
    ArgMaxArgs args;
    args.logits = reinterpret_cast<const float*>(logits.Row(begin));
    args.parts = arg_max_;
    args.stride = logits.stride;
    args.cols = Int(logits.cols, "columns");
    args.part_cols = static_cast<int>(part_cols);
    args.rows = static_cast<int>(rows);
    args.n_parts = static_cast<int>(n_parts);
    args.wide = access.wide;
    executor_.ArgMax(args);
    host_arg_max_.resize(static_cast<size_t>(rows * n_parts));
    executor_.Download(arg_max_, host_arg_max_.data(),
                       rows * n_parts * static_cast<int64_t>(sizeof(ArgMaxPart)));
    for (int64_t i = 0; i < rows * n_parts; ++i) {
      ArgMaxLogit& found = largest[static_cast<size_t>(begin + i / n_parts)];
      const ArgMaxPart& part = host_arg_max_[static_cast<size_t>(i)];
      if (part.logit > found.logit || std::isnan(part.logit)) found = {part.logit, part.column};
    }
  }
}

}  // namespace kvfold::cuda
