#include "runtime/kernels/cuda/gpu_executor.h"

#include "comm/device/cuda/cuda_check.h"
#include "runtime/kernels/cuda/cublaslt_product.h"
#include "runtime/kernels/cuda/gpu_launch.h"

namespace kvfold::cuda {
namespace {

class GpuExecutor : public Executor {
 public:
  explicit GpuExecutor(CudaDevice& device)
      : device_(device), stream_(device.stream().native()), products_(device) {}

  int n_multiprocessors() const override { return device_.properties().n_multiprocessors; }
  ThreadPool& pool() override { return device_.pool(); }

  std::span<std::byte> AcquireUpload(int64_t bytes) override {
    return device_.upload_ring().Acquire(bytes);
  }
  void SubmitUpload(std::span<std::byte> room, void* to, int64_t bytes) override {
    device_.upload_ring().Submit(room, static_cast<std::byte*>(to), bytes);
  }
  int64_t most_upload_bytes() const override { return device_.upload_ring().largest_piece_bytes(); }
  void Upload(const void* from, void* to, int64_t bytes) override {
    if (bytes > 0) device_.Upload(from, to, bytes);
  }
  void Download(const void* from, void* to, int64_t bytes) override {
    if (bytes > 0) device_.CopyToHost(from, to, bytes);
  }

  void Product(const ProductArgs& args) override {
    products_.Run(args, [this, &args] {
      FillRowsArgs fill;
      fill.bias = args.bias;
      fill.y = args.y;
      fill.stride = args.y_stride;
      fill.rows = static_cast<int>(args.rows);
      fill.cols = static_cast<int>(args.shape.n_out);
      fill.dtype = args.y_dtype;
      FillRows(fill);
    });
  }

  void Attention(AttentionKernel kernel, const AttentionArgs& args, int n_items) override {
    if (kernel == AttentionKernel::kPlain) {
      CudaCheck(LaunchPlainAttention(args, n_items, stream_), "plain attention");
      return;
    }
    const bool few = kernel == AttentionKernel::kMatrixFew;
    switch (args.head_dim) {
      case 64:
        return CudaCheck(LaunchMatrixAttention<64>(few, args, n_items, stream_), "attention");
      case 96:
        return CudaCheck(LaunchMatrixAttention<96>(few, args, n_items, stream_), "attention");
      case 128:
        return CudaCheck(LaunchMatrixAttention<128>(few, args, n_items, stream_), "attention");
      case 256:
        return CudaCheck(LaunchMatrixAttention<256>(few, args, n_items, stream_), "attention");
      default:
        KVFOLD_CHECK(false, "head_dim", args.head_dim);
    }
  }
  void AttentionMerge(const AttentionArgs& args, int n_merges, int most_rows) override {
    CudaCheck(LaunchAttentionMerge(args, n_merges, most_rows, stream_), "merging attention");
  }
  void AddRmsNorm(const AddRmsNormArgs& args) override {
    CudaCheck(LaunchAddRmsNorm(args, stream_), "norm");
  }
  void GatedActivation(const GatedActivationArgs& args) override {
    CudaCheck(LaunchGatedActivation(args, stream_), "gated activation");
  }
  void SoftCap(const SoftCapArgs& args) override {
    CudaCheck(LaunchSoftCap(args, stream_), "soft-cap");
  }
  void RopeTable(const RopeTableArgs& args) override {
    CudaCheck(LaunchRopeTable(args, stream_), "rope table");
  }
  void RopeAppend(const RopeAppendArgs& args) override {
    CudaCheck(LaunchRopeAppend(args, stream_), "rope");
  }
  void LogitStats(const LogitStatsArgs& args) override {
    CudaCheck(LaunchLogitStats(args, stream_), "statistics of logits");
  }
  void ArgMax(const ArgMaxArgs& args) override {
    CudaCheck(LaunchArgMax(args, stream_), "largest logits");
  }
  void FillRows(const FillRowsArgs& args) override {
    CudaCheck(LaunchFillRows(args, stream_), "filling rows");
  }
  Ceilings MeasureCeilings(std::span<const LinearShape> shapes, int64_t rows,
                           DType dtype) override {
    return MeasureGpuCeilings(device_, *this, shapes, rows, dtype);
  }

 private:
  CudaDevice& device_;
  cudaStream_t stream_;
  CublasLtProducts products_;
};

}  // namespace

std::unique_ptr<Executor> MakeGpuExecutor(CudaDevice& device) {
  return std::make_unique<GpuExecutor>(device);
}

}  // namespace kvfold::cuda
