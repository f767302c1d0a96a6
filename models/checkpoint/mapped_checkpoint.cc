#include "models/checkpoint/mapped_checkpoint.h"

#include <utility>

#include "comm/error.h"
#include "models/checkpoint/dequantize.h"
#include "models/checkpoint/fingerprint.h"

namespace kvfold {
namespace {

// Where row (or, of a vector, element) `row` of a permuted tensor is stored.
int64_t StoredRow(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim;
  const int64_t half = head_dim / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

}  // namespace

MappedCheckpoint::MappedCheckpoint(std::string path, std::vector<CheckpointFile> files,
                                   std::vector<StoredTensor> stored, FileNames names)
    : path_(std::move(path)), files_(std::move(files)), names_(std::move(names)) {
  tensors_.reserve(stored.size());  // index_ points at the names
  for (StoredTensor& tensor : stored) {
    const TensorInfo& info = tensors_.emplace_back(std::move(tensor.info));
    places_.push_back({tensor.data, info.bytes / info.rows, tensor.permuted_heads});
    const bool is_new = index_.emplace(info.name, tensors_.size() - 1).second;
    KVFOLD_CHECK(is_new, "tensor", info.name);
  }
}

void MappedCheckpoint::AddAlias(std::string_view alias, std::string_view name) {
  const size_t place = index_.at(name);
  const bool is_new = index_.emplace(aliases_.emplace_back(alias), place).second;
  KVFOLD_CHECK(is_new, "alias", alias);
}

const TensorInfo* MappedCheckpoint::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void MappedCheckpoint::ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end,
                                 int64_t col_begin, int64_t col_end, float* out) const {
  KVFOLD_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= tensor.rows, "tensor",
               tensor.name, "row_begin", row_begin, "row_end", row_end, "rows", tensor.rows);
  KVFOLD_CHECK(0 <= col_begin && col_begin <= col_end && col_end <= tensor.cols, "tensor",
               tensor.name, "col_begin", col_begin, "col_end", col_end, "cols", tensor.cols);
  const auto found = index_.find(tensor.name);
  KVFOLD_CHECK(found != index_.end(), "tensor", tensor.name);
  const Place& place = places_[found->second];
  const int64_t n_cols = col_end - col_begin;

  if (place.permuted_heads > 0 && tensor.rows == 1) {
    const int64_t head_dim = tensor.cols / place.permuted_heads;
    for (int64_t c = col_begin; row_begin < row_end && c < col_end; ++c) {
      const int64_t stored = StoredRow(c, head_dim);
      DequantizeRow(tensor.type, place.data, stored, stored + 1, out + (c - col_begin));
    }
    return;
  }
  const int64_t head_dim = place.permuted_heads > 0 ? tensor.rows / place.permuted_heads : 0;
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int64_t stored = head_dim > 0 ? StoredRow(r, head_dim) : r;
    DequantizeRow(tensor.type, place.data + stored * place.row_bytes, col_begin, col_end,
                  out + (r - row_begin) * n_cols);
  }
}

void MappedCheckpoint::DropResidentPages() const {
  for (const CheckpointFile& file : files_) file.file.DropResidentPages();
}

uint64_t MappedCheckpoint::Fingerprint() const {
  FingerprintHash hash;
  hash.AddNumber(files_.size());
  for (const CheckpointFile& file : files_) hash.AddFile(file.file, file.head_bytes);
  return hash.value();
}

}  // namespace kvfold
