// models/checkpoint/mapped_file.h: a file mapped into memory, read-only.
//
// Pages are read from disk when they are first touched, and may be dropped again at any time
// without losing the mapping. Move-only; bytes() stays valid, at the same address, until the last
// owner is gone. Several threads may read. The file must not be cut short while it is mapped: the
// process ends when it touches a page that is gone (mapping_faults.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace kvfold {

class MappedFile {
 public:
  // Throws InputError where `path` is not a regular file that can be opened, IoError where it
  // cannot be mapped. An empty file is legal and maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile() { Unmap(); }
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    if (this != &other) {
      Unmap();
      path_ = std::move(other.path_);
      data_ = std::exchange(other.data_, nullptr);
      size_bytes_ = std::exchange(other.size_bytes_, 0);
    }
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_bytes_}; }
  const uint8_t* data() const { return data_; }
  uint64_t size_bytes() const { return size_bytes_; }
  const std::string& path() const { return path_; }

  // The whole file's pages leave this process's resident memory; a later read brings them back.
  void DropResidentPages() const;

 private:
  void Unmap() noexcept;

  std::string path_;
  uint8_t* data_ = nullptr;
  uint64_t size_bytes_ = 0;
};

}  // namespace kvfold
