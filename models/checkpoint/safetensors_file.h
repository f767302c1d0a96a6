// models/checkpoint/safetensors_file.h: the head of one safetensors file.
// Format: https://github.com/huggingface/safetensors: a 64-bit little-endian length, so many bytes
// of JSON, then the tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/checkpoint/mapped_file.h"

namespace kvfold {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as the file spells it
  std::vector<int64_t> shape;  // each >= 0
  // [offset_bytes, offset_bytes + bytes) is in the file, counted from its start. Where dtype is
  // known, dtype and shape make as many bytes.
  uint64_t offset_bytes = 0;
  int64_t bytes = 0;
};

class SafetensorsFile {
 public:
  // Throws InputError naming file and tensor: a header that is too long or no JSON, extents outside
  // the file or over one another, a shape that does not fill its extent.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const MappedFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }
  uint64_t head_bytes() const { return head_bytes_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  // The mapping, for who has seen what it needs of the head. Leaves this object to be destroyed
  // only.
  MappedFile TakeFile() && { return std::move(file_); }

 private:
  void CheckOverlap() const;

  MappedFile file_;
  uint64_t head_bytes_ = 0;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace kvfold
