#include "tests/support/simt/emulated_gpu.h"

#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/kernels/cuda/dispatch.h"
// The kernels' bodies take their names from here.
#include "tests/support/simt/ptx_emulated.h"
//
#include "runtime/kernels/cuda/attention_matrix.cuh"
#include "runtime/kernels/cuda/attention_merge.cuh"
#include "runtime/kernels/cuda/attention_plain.cuh"
#include "runtime/kernels/cuda/rope.cuh"
#include "runtime/kernels/cuda/rows.cuh"

namespace kvfold::simt {
namespace {

class EmulatedExecutor : public cuda::Executor {
 public:
  EmulatedExecutor(EmulatedDevice& device, int n_multiprocessors, Schedule schedule)
      : pool_(device.pool()), n_multiprocessors_(n_multiprocessors), schedule_(schedule) {}

  int n_multiprocessors() const override { return n_multiprocessors_; }
  ThreadPool& pool() override { return pool_; }
  std::span<std::byte> AcquireUpload(int64_t bytes) override {
    upload_.resize(static_cast<size_t>(bytes));
    return upload_;
  }
  void SubmitUpload(std::span<std::byte> room, void* to, int64_t bytes) override {
    Upload(room.data(), to, bytes);
  }
  int64_t most_upload_bytes() const override { return int64_t{1} << 20; }
  void Upload(const void* from, void* to, int64_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void Download(const void* from, void* to, int64_t bytes) override { Upload(from, to, bytes); }

  void Product(const cuda::ProductArgs& args) override {
    const auto wide = [&](const void* base, int64_t i) {
      return args.dtype == DType::kF32
                 ? static_cast<const float*>(base)[i]
                 : std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(base)[i]} << 16);
    };
    for (int64_t row = 0; row < args.rows; ++row) {
      for (int64_t n = 0; n < args.shape.n_out; ++n) {
        float sum = 0.0f;
        for (int64_t k = 0; k < args.shape.n_in; ++k) {
          sum += wide(args.x, row * args.x_stride + k) * wide(args.weight, n * args.shape.n_in + k);
        }
        if (args.bias != nullptr) sum += args.bias[n];
        const int64_t at = row * args.y_stride + n;
        if (args.y_dtype == DType::kF32) {
          static_cast<float*>(args.y)[at] = sum;
        } else {
          static_cast<uint16_t*>(args.y)[at] =
              static_cast<uint16_t>(ptx::PackBf16x2(sum, 0.0f) & 0xffffu);
        }
      }
    }
  }

  void Attention(cuda::AttentionKernel kernel, const cuda::AttentionArgs& args,
                 int n_items) override {
    if (kernel == cuda::AttentionKernel::kPlain) {
      cuda::WithCacheType(args.kv_dtype, [&]<DType kDtype>() {
        Run({n_items, 1, cuda::kPlainWarps * 32, cuda::kPlainSharedBytes},
            [&] { cuda::AttentionPlainBody<kDtype>(args); });
      });
      return;
    }
    cuda::WithHeadDim(args.head_dim, [&]<int kHeadDim>() {
      cuda::WithMatrixKind(
          kernel == cuda::AttentionKernel::kMatrixFew, args,
          [&]<bool kFewRows, bool kInt8, bool kKeyBias, bool kCapped>() {
            Matrix<cuda::MatrixAttention<kHeadDim, kFewRows, kInt8, kKeyBias, kCapped>>(args,
                                                                                        n_items);
          });
    });
  }
  void AttentionMerge(const cuda::AttentionArgs& args, int n_merges, int most_rows) override {
    Run({n_merges, CeilDiv(most_rows, cuda::kMergeWarps), cuda::kMergeWarps * 32, 0},
        [&] { cuda::AttentionMergeBody(args); });
  }
  void AddRmsNorm(const cuda::AddRmsNormArgs& args) override {
    cuda::WithElement(args.delta_dtype, [&]<typename Delta>() {
      cuda::WithElement(args.out_dtype, [&]<typename Out>() {
        cuda::WithCount(args.wide, [&]<int kCount>() {
          Run({args.rows, 1, cuda::kRowThreads, cuda::kRowSharedBytes},
              [&] { cuda::AddRmsNormBody<kCount, Delta, Out>(args); });
        });
      });
    });
  }
  void GatedActivation(const cuda::GatedActivationArgs& args) override {
    cuda::WithElement(args.in_dtype, [&]<typename In>() {
      cuda::WithElement(args.out_dtype, [&]<typename Out>() {
        cuda::WithCount(args.wide, [&]<int kCount>() {
          Run({args.rows, CeilDiv(args.ffn, cuda::kRowThreads * kCount), cuda::kRowThreads, 0},
              [&] { cuda::GatedActivationBody<kCount, In, Out>(args); });
        });
      });
    });
  }
  void SoftCap(const cuda::SoftCapArgs& args) override {
    Run({args.rows, CeilDiv(args.cols, cuda::kRowThreads), cuda::kRowThreads, 0},
        [&] { cuda::SoftCapBody(args); });
  }
  void RopeTable(const cuda::RopeTableArgs& args) override {
    Run({args.rows, 1, 128, 0}, [&] { cuda::RopeTableBody(args); });
  }
  void RopeAppend(const cuda::RopeAppendArgs& args) override {
    cuda::WithElement(args.qkv_dtype, [&]<typename Qkv>() {
      cuda::WithCount(args.wide, [&]<int kCount>() {
        Run({args.rows, args.blocks_per_row(), cuda::kRopeThreads, 0},
            [&] { cuda::RopeAppendBody<kCount, Qkv>(args); });
      });
    });
  }
  void LogitStats(const cuda::LogitStatsArgs& args) override {
    Run({args.rows, 1, cuda::kRowThreads, cuda::kRowSharedBytes},
        [&] { cuda::LogitStatsBody(args); });
  }
  void ArgMax(const cuda::ArgMaxArgs& args) override {
    cuda::WithCount(args.wide, [&]<int kCount>() {
      Run({args.rows, args.n_parts, cuda::kRowThreads, cuda::kRowSharedBytes},
          [&] { cuda::ArgMaxBody<kCount>(args); });
    });
  }
  void FillRows(const cuda::FillRowsArgs& args) override {
    cuda::WithElement(args.dtype, [&]<typename Out>() {
      Run({args.rows, CeilDiv(args.cols, cuda::kRowThreads), cuda::kRowThreads, 0},
          [&] { cuda::FillRowsBody<Out>(args); });
    });
  }
  Ceilings MeasureCeilings(std::span<const LinearShape>, int64_t, DType) override {
    return {1.0, 1.0};
  }

 private:
  template <typename Config>
  void Matrix(const cuda::AttentionArgs& args, int n_items) {
    Run({n_items, 1, Config::kThreads, Config::kSharedBytes}, [&] { Config(args).Run(); });
  }
  template <typename Body>
  void Run(const LaunchShape& shape, Body&& body) {
    Launch(shape, schedule_, body);
  }

  ThreadPool& pool_;
  int n_multiprocessors_;
  Schedule schedule_;
  std::vector<std::byte> upload_;
};

}  // namespace

Buffer EmulatedDevice::Allocate(int64_t bytes) {
  Buffer memory = host_.Allocate(bytes);
  std::byte* const data = memory.data();
  if (bytes == 0) return memory;
  RegisterMemory(data, bytes);
  // The buffer that owns the memory goes with the one that is handed out.
  auto owner = std::make_shared<Buffer>(std::move(memory));
  return Buffer(data, bytes, [owner](void* at, int64_t) mutable {
    UnregisterMemory(at);
    owner.reset();
  });
}

std::unique_ptr<cuda::Executor> MakeEmulatedExecutor(EmulatedDevice& device, int n_multiprocessors,
                                                     Schedule schedule) {
  return std::make_unique<EmulatedExecutor>(device, n_multiprocessors, schedule);
}

}  // namespace kvfold::simt
