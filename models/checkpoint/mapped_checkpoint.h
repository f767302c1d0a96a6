// models/checkpoint/mapped_checkpoint.h: a Checkpoint over mapped files, once a reader of some
// format has said which tensors lie where.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/checkpoint/checkpoint.h"
#include "models/checkpoint/mapped_file.h"

namespace kvfold {

// A file of a checkpoint, and how many bytes at its front are head rather than tensors.
struct CheckpointFile {
  MappedFile file;
  uint64_t head_bytes = 0;
};

struct StoredTensor {
  TensorInfo info;
  const uint8_t* data = nullptr;  // info.bytes bytes within one of the files
  // > 0: the rows (of a vector: the columns) are in `permuted_heads` heads, and row h * head_dim +
  // j * head_dim / 2 + i of the tensor is stored as row h * head_dim + 2 * i + j, for j in {0, 1}.
  // Divides the rows; rows / permuted_heads is even.
  int64_t permuted_heads = 0;
};

// What the files have beside the tensors that a model here may read, in the files' own names.
struct FileNames {
  // Tensors of the model itself (a layer's, the head's) that no model here reads: what is computed
  // without them is not what the files mean.
  std::vector<std::string> unknown;
  // The name in the files of a tensor of ours, be it there or not.
  std::function<std::string(std::string_view)> stored_name;
  // Why a tensor of ours may be missing ("placed in b.safetensors by ..."), by its name in the
  // files.
  std::map<std::string, std::string, std::less<>> placed;
};

// Takes over the files, whose mappings the tensors point into. Requires: names are distinct;
// extents have been checked.
class MappedCheckpoint : public Checkpoint {
 public:
  MappedCheckpoint(std::string path, std::vector<CheckpointFile> files,
                   std::vector<StoredTensor> stored, FileNames names);

  const FileNames& names() const { return names_; }
  // Lets `alias` be found as `name` is, for matrices that are one. Requires: `name` is there and
  // `alias` is not.
  void AddAlias(std::string_view alias, std::string_view name);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* Find(std::string_view name) const override;
  void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t col_begin,
                 int64_t col_end, float* out) const override;
  void DropResidentPages() const override;
  uint64_t Fingerprint() const override;
  std::string path() const override { return path_; }

 private:
  struct Place {
    const uint8_t* data;
    int64_t row_bytes;
    int64_t permuted_heads;
  };

  std::string path_;
  std::vector<CheckpointFile> files_;
  FileNames names_;
  std::vector<TensorInfo> tensors_;
  std::vector<Place> places_;  // by the same index
  // Keys are the names of tensors_, and those of aliases_.
  std::unordered_map<std::string_view, size_t> index_;
  std::deque<std::string> aliases_;
};

// The readers. All throw InputError or IoError as Checkpoint::Open does; the last one chooses.
std::unique_ptr<MappedCheckpoint> OpenGgufCheckpoint(const std::filesystem::path& file);
std::unique_ptr<MappedCheckpoint> OpenSafetensorsCheckpoint(const std::filesystem::path& folder);
std::unique_ptr<MappedCheckpoint> OpenMappedCheckpoint(const std::filesystem::path& model);

}  // namespace kvfold
