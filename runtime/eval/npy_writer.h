// runtime/eval/npy_writer.h: a float32 matrix written row by row as a NumPy .npy file (format
// version 1.0, C order).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "comm/files/output_file.h"

namespace kvfold {

// A regular file is written beside its name, as NAME.partial, and renamed when Close succeeds: a
// file under that name is whole, and what was there before stays until then. It must be such a
// matrix itself, or empty: anything else is not replaced. A writer dropped before removes what it
// wrote. A symbolic link stays, and its file is replaced. Pipes and devices take the bytes as they
// come.
class NpyWriter {
 public:
  // Throws InputError where nothing may be written there (comm/files/output_file.h), where another
  // file is there, or where another process writes it.
  NpyWriter(OutputPlace place, int64_t rows, int64_t cols);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void Append(std::span<const float> row);  // cols elements; throws IoError (disk full)
  void Close();                             // Requires: `rows` rows were appended

 private:
  void OpenPartial(const OutputPlace& place);
  void Flush();
  void Remove() noexcept;

  std::filesystem::path path_;          // empty: a stream
  std::filesystem::path partial_path_;  // empty: a stream, or Close has succeeded
  std::unique_ptr<OutputFile> file_;
  std::string buffer_;
  int64_t rows_left_;
  int64_t cols_;
};

}  // namespace kvfold
