// runtime/eval/npy_writer.h: a float32 matrix written row by row as a NumPy .npy file (format
// version 1.0, C order).
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

namespace kvfold {

// Writes beside `path` and renames when Close succeeds: a file under that name is whole. A writer
// dropped before removes what it wrote.
class NpyWriter {
 public:
  // Throws IoError where the file cannot be made.
  NpyWriter(std::filesystem::path path, int64_t rows, int64_t cols);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void Append(std::span<const float> row);  // cols elements; throws IoError (disk full)
  void Close();                             // Requires: `rows` rows were appended

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  int64_t rows_left_;
  int64_t cols_;
};

}  // namespace kvfold
