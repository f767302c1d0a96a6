// runtime/kernels/cuda/executor.h: what runs the kernels that CudaKernels has chosen and bound, in
// stream order: a GPU (gpu_executor.h), or in tests an emulator of one. Arguments are copied by the
// call; what they point to is device memory. No call waits but Download.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/device/thread_pool.h"
#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/row_args.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cuda {

// A count as kernels take it. Throws CapacityError naming `what` where it is beyond an int.
inline int Int(int64_t value, const char* what) {
  if (value > std::numeric_limits<int>::max()) {
    throw CapacityError(fmt::format("{} {}: the CUDA kernels count to 2147483647", value, what));
  }
  return static_cast<int>(value);
}

// y[rows, n_out] = x w^T (+ bias): w dense [n_out, n_in] of the type of x. n_out, n_in, rows >= 1.
struct ProductArgs {
  const void* x = nullptr;
  const void* weight = nullptr;
  const float* bias = nullptr;  // null: none
  void* y = nullptr;
  int64_t x_stride = 0;
  int64_t y_stride = 0;
  int64_t rows = 0;
  LinearShape shape;
  DType dtype = DType::kF32;  // of x and weight: products in bf16, or in f32 without TF32
  DType y_dtype = DType::kF32;
};

// Which attention kernel takes items.
enum class AttentionKernel : uint8_t {
  kPlain,       // attention_plain.cuh
  kMatrixFew,   // attention_matrix.cuh, kFewRows packed rows at most
  kMatrixMany,  // attention_matrix.cuh
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual int n_multiprocessors() const = 0;
  virtual ThreadPool& pool() = 0;  // host threads, which convert weights

  // Room in memory that the device copies from; submitted before the next is acquired.
  virtual std::span<std::byte> AcquireUpload(int64_t bytes) = 0;
  virtual void SubmitUpload(std::span<std::byte> room, void* to, int64_t bytes) = 0;
  virtual int64_t most_upload_bytes() const = 0;  // of one AcquireUpload
  // `from` may change once this has returned.
  virtual void Upload(const void* from, void* to, int64_t bytes) = 0;
  virtual void Download(const void* from, void* to, int64_t bytes) = 0;  // waits

  virtual void Product(const ProductArgs& args) = 0;
  // args.items: n_items of them. args.merges: n_merges, of at most most_rows packed rows each.
  virtual void Attention(AttentionKernel kernel, const AttentionArgs& args, int n_items) = 0;
  virtual void AttentionMerge(const AttentionArgs& args, int n_merges, int most_rows) = 0;
  virtual void AddRmsNorm(const AddRmsNormArgs& args) = 0;
  virtual void GatedActivation(const GatedActivationArgs& args) = 0;
  virtual void SoftCap(const SoftCapArgs& args) = 0;
  virtual void RopeTable(const RopeTableArgs& args) = 0;
  virtual void RopeAppend(const RopeAppendArgs& args) = 0;
  virtual void LogitStats(const LogitStatsArgs& args) = 0;
  virtual void ArgMax(const ArgMaxArgs& args) = 0;
  virtual void FillRows(const FillRowsArgs& args) = 0;

  virtual Ceilings MeasureCeilings(std::span<const LinearShape> shapes, int64_t rows,
                                   DType dtype) = 0;
};

}  // namespace kvfold::cuda
