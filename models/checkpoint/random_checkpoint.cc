#include "models/checkpoint/random_checkpoint.h"

#include <algorithm>
#include <cmath>

#include "models/tensor_table.h"

namespace kvfold {
namespace {

uint64_t Mix(uint64_t x) {  // SplitMix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

class RandomCheckpoint : public Checkpoint {
 public:
  explicit RandomCheckpoint(const ModelConfig& c)
      : norm_(1.0f - static_cast<float>(c.norm_offset)) {
    for (ModelTensor& tensor : ModelTensors(c)) {
      const int64_t bytes = tensor.rows * tensor.cols * 4;
      tensors_.push_back(
          {std::move(tensor.name), StorageType::kF32, tensor.rows, tensor.cols, bytes});
    }
    std::ranges::sort(tensors_, {}, &TensorInfo::name);
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* Find(std::string_view name) const override {
    const auto at = std::ranges::lower_bound(
        tensors_, name, {}, [](const TensorInfo& t) { return std::string_view(t.name); });
    return at != tensors_.end() && at->name == name ? &*at : nullptr;
  }
  void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t col_begin,
                 int64_t col_end, float* out) const override {
    const auto seed = static_cast<uint64_t>(&tensor - tensors_.data() + 1) << 40;
    const bool is_norm = FindTensorPlace(tensor.name)->row->role == TensorRole::kNorm;
    // Uniform on [-1/2, 1/2) has a variance of 1/12.
    const float scale =
        is_norm ? 0.0f : static_cast<float>(std::sqrt(12.0 / static_cast<double>(tensor.cols)));
    const float offset = is_norm ? norm_ : 0.0f;
    for (int64_t row = row_begin; row < row_end; ++row) {
      const uint64_t row_seed = Mix(seed + static_cast<uint64_t>(row));
      for (int64_t col = col_begin; col < col_end; ++col) {
        const uint64_t bits = Mix(row_seed + static_cast<uint64_t>(col) * 0x9e3779b97f4a7c15ull);
        const float uniform = static_cast<float>(bits >> 40) * 0x1.0p-24f - 0.5f;
        *out++ = offset + scale * uniform;
      }
    }
  }
  void DropResidentPages() const override {}
  uint64_t Fingerprint() const override { return tensors_.size(); }
  std::string path() const override { return "random weights"; }

 private:
  float norm_;  // such that the norms of the model multiply by 1
  std::vector<TensorInfo> tensors_;
};

}  // namespace

std::unique_ptr<Checkpoint> MakeRandomCheckpoint(const ModelConfig& config) {
  return std::make_unique<RandomCheckpoint>(config);
}

}  // namespace kvfold
