// runtime/kernels/cuda/cuda_sizing.h: what CudaKernels take in bytes and types, without a GPU.
#pragma once

#include "runtime/kernels/cuda/batch_table.h"
#include "runtime/kernels/cuda/logit_rows.h"
#include "runtime/kernels/cuda/row_args.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

class CudaSizing : public KernelSizing {
 public:
  // Of an H100 or H200: what a plan for a GPU that is not at hand counts with.
  static constexpr int kPlannedMultiprocessors = 132;

  explicit CudaSizing(DType activation_dtype, int n_multiprocessors = kPlannedMultiprocessors)
      : dtype_(activation_dtype), blocks_at_a_time_(2 * n_multiprocessors) {}

  DType activation_dtype() const override { return dtype_; }
  DType product_dtype() const override { return dtype_; }
  int64_t kv_interleave(DType) const override { return kRowMajorTiles; }
  // Partial results of one wave: batches that need more take several, so that this depends on no
  // number of sequences.
  int64_t ScratchBytes(const AttentionHeads& heads, int64_t) const override {
    const int64_t row_bytes = heads.head_dim * 4 + static_cast<int64_t>(sizeof(PartialStats));
    return dtype_ == DType::kF32 ? 0
                                 : MostPartialRows(heads.head_dim, blocks_at_a_time_) * row_bytes;
  }
  int64_t PackedBytes(LinearShape shape) const override {
    return shape.n_out * shape.n_in * DTypeBytes(dtype_);
  }
  int64_t OwnBytes() const override { return kOwnBytes + kProductBytes; }

  int64_t blocks_at_a_time() const { return blocks_at_a_time_; }

  // Workspace of products, and room to try their algorithms (cublaslt_product.h).
  static constexpr int64_t kProductWorkspaceBytes = int64_t{32} << 20;
  static constexpr int64_t kProductTrialBytes = int64_t{24} << 20;
  static constexpr int64_t kProductBytes = kProductWorkspaceBytes + kProductTrialBytes;
  // Batches as kernels read them, of as many groups of layers as may alternate in a step.
  static constexpr int kTables = 4;
  static constexpr int64_t kTableBytes = int64_t{4} << 20;
  // Positions and frequencies of a step; rows of logits.
  static constexpr int64_t kMostPositions = int64_t{1} << 15;
  static constexpr int64_t kMostPairs = 4096;
  static constexpr int64_t kOwnBytes =
      kTables * kTableBytes + kMostPositions * 8 + kMostPairs * 4 + LogitRows::kBytes;

 private:
  DType dtype_;
  int64_t blocks_at_a_time_;
};

}  // namespace kvfold::cuda
