#include "runtime/kernels/cuda/cublaslt_product.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold::cuda {
namespace {

// Row counts that algorithms are chosen for; more than the last take its algorithm, whose bits all
// others have to give.
constexpr std::array<int64_t, 4> kRowClasses = {16, 64, 256, 1024};
constexpr int kCandidates = 16;
constexpr int64_t kTrialRows = 16;
constexpr int64_t kTrialAlignmentBytes = 256;
constexpr size_t kMostRowCounts = 256;  // bound at a time

size_t ClassOf(int64_t rows) {
  const auto at = std::ranges::lower_bound(kRowClasses, rows);
  return std::min(static_cast<size_t>(at - kRowClasses.begin()), kRowClasses.size() - 1);
}

cudaDataType_t TypeOf(DType dtype) { return dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF; }

// The largest power of two, to 16, that divides the address and the bytes between rows.
int AlignmentOf(const void* data, int64_t stride_bytes) {
  const uint64_t bits =
      reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(stride_bytes) | 16u;
  return static_cast<int>(bits & (~bits + 1));
}

}  // namespace

// One shape's descriptors and algorithms.
class CublasLtProducts::Plan {
 public:
  Plan(CublasLtProducts& owner, const Shape& shape) : o_(owner), lt_(owner.lt_), shape_(shape) {
    const bool narrow = shape.dtype == DType::kBF16;
    Check(lt_.cublasLtMatmulDescCreate(
        &operation_, narrow ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    Set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    // cuBLASLt counts columns first: a row-major [rows, cols] is its [cols, rows].
    Check(lt_.cublasLtMatrixLayoutCreate(&weight_, TypeOf(shape.dtype),
                                         static_cast<uint64_t>(shape.n_in),
                                         static_cast<uint64_t>(shape.n_out), shape.n_in));
    Check(lt_.cublasLtMatmulPreferenceCreate(&preference_));
    Prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
    Prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
    const int64_t weight_row = shape.n_in * DTypeBytes(shape.dtype);
    Prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
           static_cast<uint32_t>(AlignmentOf(nullptr, weight_row)));
    Prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(shape.x_alignment));
    Prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(shape.y_alignment));
    Prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(shape.y_alignment));
  }
  ~Plan() {
    bound_.clear();
    lt_.cublasLtMatmulPreferenceDestroy(preference_);
    lt_.cublasLtMatrixLayoutDestroy(weight_);
    lt_.cublasLtMatmulDescDestroy(operation_);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // args: of the shape, for its weight.
  void ChooseAlgorithms(const ProductArgs& args) {
    constexpr size_t kMost = kRowClasses.size() - 1;
    FuseBias(args.bias);
    std::vector<cublasLtMatmulAlgo_t> of_most = Candidates(kRowClasses[kMost]);
    if (of_most.empty() && fused_bias_) {
      FuseBias(nullptr);
      of_most = Candidates(kRowClasses[kMost]);
    }
    if (of_most.empty()) {
      throw DeviceError(fmt::format(
          "cuBLASLt has no algorithm without split sums for a product of {} inputs and {} outputs",
          shape_.n_in, shape_.n_out));
    }
    algorithms_.fill(of_most.front());
    Trial trial(*this, args);
    const std::optional<std::vector<std::byte>> want = trial.Bits(of_most.front());
    if (!want) return;
    for (size_t c = 0; c < kMost; ++c) {
      for (const cublasLtMatmulAlgo_t& candidate : Candidates(kRowClasses[c])) {
        const std::optional<std::vector<std::byte>> got = trial.Bits(candidate);
        if (got && *got == *want) {
          algorithms_[c] = candidate;
          break;
        }
      }
    }
  }

  void Run(const ProductArgs& args, const std::function<void()>& lay_bias) {
    Bound& bound = BoundOf(args.rows);
    if (shape_.bias && !fused_bias_) lay_bias();
    Launch(bound, bound.algorithm, args);
  }

 private:
  struct Bound {  // for one number of rows
    const CublasLtLibrary& lt;
    cublasLtMatrixLayout_t x = nullptr;
    cublasLtMatrixLayout_t y = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    explicit Bound(const CublasLtLibrary& library) : lt(library) {}
    ~Bound() {
      if (x != nullptr) lt.cublasLtMatrixLayoutDestroy(x);
      if (y != nullptr) lt.cublasLtMatrixLayoutDestroy(y);
    }
    Bound(const Bound&) = delete;
    Bound& operator=(const Bound&) = delete;
  };

  // Runs algorithms on the same few random rows, in memory of their own.
  class Trial {
   public:
    Trial(Plan& plan, const ProductArgs& args) : plan_(plan), args_(args) {
      const Shape& shape = plan.shape_;
      const int64_t x_row = shape.x_stride * DTypeBytes(shape.dtype);
      y_row_ = shape.y_stride * DTypeBytes(shape.y_dtype);
      const int64_t room = kTrialBytes - 2 * kTrialAlignmentBytes;
      rows_ = std::min(kTrialRows, room / (x_row + y_row_));
      if (rows_ < 1) return;  // a row of tens of megabytes: nothing to compare
      std::byte* const memory = plan.o_.own_.data() + kWorkspaceBytes;
      args_.rows = rows_;
      args_.x = memory;
      y_ = memory + RoundUp<int64_t>(rows_ * x_row, kTrialAlignmentBytes);
      args_.y = y_;
      std::vector<std::byte> x(static_cast<size_t>(rows_ * x_row));
      std::mt19937 random(1);
      std::normal_distribution<float> normal;
      const int64_t element = DTypeBytes(shape.dtype);
      for (size_t i = 0; i < x.size(); i += static_cast<size_t>(element)) {
        const float value = normal(random);
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof(bits));
        if (element == 2) bits >>= 16;
        std::memcpy(x.data() + i, &bits, static_cast<size_t>(element));
      }
      plan.o_.device_.Upload(x.data(), memory, static_cast<int64_t>(x.size()));
      nothing_.assign(static_cast<size_t>(rows_ * y_row_), std::byte{0});
    }

    // Of y; nothing where the algorithm does not take these rows.
    std::optional<std::vector<std::byte>> Bits(const cublasLtMatmulAlgo_t& algorithm) {
      if (rows_ < 1) return std::nullopt;
      Bound bound(plan_.lt_);
      plan_.Describe(bound, rows_);
      if (!plan_.Takes(bound, algorithm)) return std::nullopt;
      const auto bytes = static_cast<int64_t>(nothing_.size());
      plan_.o_.device_.Upload(nothing_.data(), y_, bytes);
      plan_.Launch(bound, algorithm, args_);
      std::vector<std::byte> got(nothing_.size());
      plan_.o_.device_.CopyToHost(y_, got.data(), bytes);
      return got;
    }

   private:
    Plan& plan_;
    ProductArgs args_;
    int64_t rows_ = 0;
    int64_t y_row_ = 0;
    std::byte* y_ = nullptr;
    std::vector<std::byte> nothing_;
  };

  // cuBLASLt adds biases of the type of y alone; ours are f32. null: it adds none.
  void FuseBias(const float* bias) {
    fused_bias_ = bias != nullptr && shape_.y_dtype == DType::kF32;
    const cublasLtEpilogue_t epilogue =
        fused_bias_ ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    Set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (!fused_bias_) return;
    const cudaDataType_t type = CUDA_R_32F;
    Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);  // its alignment counts in the choice
  }
  void Check(cublasStatus_t status) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    CublasCheck(status,
                fmt::format("a product of {} inputs and {} outputs", shape_.n_in, shape_.n_out));
  }
  template <typename Value>
  void Set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    Check(lt_.cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof(value)));
  }
  template <typename Value>
  void Prefer(cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
    Check(lt_.cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)));
  }

  void Describe(Bound& bound, int64_t rows) const {
    Check(lt_.cublasLtMatrixLayoutCreate(&bound.x, TypeOf(shape_.dtype),
                                         static_cast<uint64_t>(shape_.n_in),
                                         static_cast<uint64_t>(rows), shape_.x_stride));
    Check(lt_.cublasLtMatrixLayoutCreate(&bound.y, TypeOf(shape_.y_dtype),
                                         static_cast<uint64_t>(shape_.n_out),
                                         static_cast<uint64_t>(rows), shape_.y_stride));
  }

  bool Takes(const Bound& bound, const cublasLtMatmulAlgo_t& algorithm) const {
    cublasLtMatmulHeuristicResult_t result{};
    return lt_.cublasLtMatmulAlgoCheck(o_.handle_, operation_, weight_, bound.x, bound.y, bound.y,
                                       &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= static_cast<size_t>(kWorkspaceBytes);
  }

  Bound& BoundOf(int64_t rows) {
    const auto known = bound_.find(rows);
    if (known != bound_.end()) return *known->second;
    if (bound_.size() >= kMostRowCounts) bound_.clear();
    auto bound = std::make_unique<Bound>(lt_);
    Describe(*bound, rows);
    bound->algorithm = algorithms_[ClassOf(rows)];
    if (!Takes(*bound, bound->algorithm)) bound->algorithm = algorithms_.back();
    return *bound_.emplace(rows, std::move(bound)).first->second;
  }

  // The heuristic's, best first, without those that split the sum.
  std::vector<cublasLtMatmulAlgo_t> Candidates(int64_t rows) const {
    Bound bound(lt_);
    Describe(bound, rows);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
    int n = 0;
    const cublasStatus_t status =
        lt_.cublasLtMatmulAlgoGetHeuristic(o_.handle_, operation_, weight_, bound.x, bound.y,
                                           bound.y, preference_, kCandidates, results.data(), &n);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    Check(status);
    std::vector<cublasLtMatmulAlgo_t> candidates;
    for (int i = 0; i < n; ++i) {
      const cublasLtMatmulHeuristicResult_t& result = results[static_cast<size_t>(i)];
      if (result.state != CUBLAS_STATUS_SUCCESS) continue;
      int32_t splits = 0;
      uint32_t scheme = 0;
      size_t written = 0;
      lt_.cublasLtMatmulAlgoConfigGetAttribute(&result.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                               &splits, sizeof(splits), &written);
      lt_.cublasLtMatmulAlgoConfigGetAttribute(&result.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                               &scheme, sizeof(scheme), &written);
      if (splits <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE) {
        candidates.push_back(result.algo);
      }
    }
    return candidates;
  }

  void Launch(const Bound& bound, const cublasLtMatmulAlgo_t& algorithm, const ProductArgs& args) {
    const float one = 1.0f;
    const float beta = shape_.bias && !fused_bias_ ? 1.0f : 0.0f;
    if (fused_bias_) Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias);
    Check(lt_.cublasLtMatmul(o_.handle_, operation_, &one, args.weight, weight_, args.x, bound.x,
                             &beta, args.y, bound.y, args.y, bound.y, &algorithm, o_.own_.data(),
                             static_cast<size_t>(kWorkspaceBytes), o_.device_.stream().native()));
  }

  CublasLtProducts& o_;
  const CublasLtLibrary& lt_;
  Shape shape_;
  bool fused_bias_ = false;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  std::array<cublasLtMatmulAlgo_t, kRowClasses.size()> algorithms_{};
  std::map<int64_t, std::unique_ptr<Bound>> bound_;
};

CublasLtProducts::CublasLtProducts(CudaDevice& device)
    : device_(device), lt_(CublasLtLibrary::Get()), own_(device.Allocate(kOwnBytes)) {
  CublasCheck(lt_.cublasLtCreate(&handle_), "starting cuBLASLt");
}

CublasLtProducts::~CublasLtProducts() {
  plans_.clear();
  lt_.cublasLtDestroy(handle_);
}

void CublasLtProducts::Run(const ProductArgs& args, const std::function<void()>& lay_bias) {
  const Shape shape{args.shape.n_out,
                    args.shape.n_in,
                    args.x_stride,
                    args.y_stride,
                    args.dtype,
                    args.y_dtype,
                    args.bias != nullptr,
                    AlignmentOf(args.x, args.x_stride * DTypeBytes(args.dtype)),
                    AlignmentOf(args.y, args.y_stride * DTypeBytes(args.y_dtype))};
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (plan == nullptr) {
    auto fresh = std::make_unique<Plan>(*this, shape);
    fresh->ChooseAlgorithms(args);
    plan = std::move(fresh);
  }
  plan->Run(args, lay_bias);
}

}  // namespace kvfold::cuda
