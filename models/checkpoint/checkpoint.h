// models/checkpoint/checkpoint.h: the named tensors of a model, memory-mapped and read a slice at a
// time.
//
// Names are Hugging Face's ("model.layers.3.self_attn.q_proj.weight") for every format, and so are
// shapes ([out, in]) and the order of rows: GGUF's permuted Q and K rows of Llama are put back
// here, so that no reader knows where a tensor came from. Every size, offset and count of a file is
// checked before it is used. One object may be read by several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold {

enum class StorageType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kTQ1_0,
  kTQ2_0,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kIQ1_S,
  kIQ1_M
};
std::string_view StorageTypeName(StorageType type);

// One tensor of one or two dimensions; a vector is [1, cols].
struct TensorInfo {
  std::string name;
  StorageType type = StorageType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t bytes = 0;  // as stored
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // A folder with *.safetensors (one file, or model.safetensors.index.json), or a .gguf file (the
  // first of a split). Maps the files and checks every header; reads no tensor. Throws InputError
  // or IoError naming the file.
  static std::unique_ptr<Checkpoint> Open(const std::filesystem::path& model);

  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // nullptr where the checkpoint has no such tensor.
  virtual const TensorInfo* Find(std::string_view name) const = 0;
  // As Find, but throws InputError naming file, tensor, and the shape expected, where it is missing
  // or of another shape.
  const TensorInfo& Expect(std::string_view name, int64_t rows, int64_t cols) const;

  // out[(r - row_begin) * (col_end - col_begin) + (c - col_begin)] = element (r, c) as f32, for the
  // half-open ranges. Touches only the pages that hold them. Requires: ranges within `tensor`,
  // which is of this checkpoint.
  virtual void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end,
                         int64_t col_begin, int64_t col_end, float* out) const = 0;

  // Tells the operating system that these pages are no longer wanted, so that a loaded model's file
  // does not stay resident.
  virtual void DropResidentPages() const = 0;
  // Hash of file names, sizes, headers and a fixed sample of the contents: equal on ranks that have
  // the same checkpoint.
  virtual uint64_t Fingerprint() const = 0;
  virtual std::string path() const = 0;
};

}  // namespace kvfold
