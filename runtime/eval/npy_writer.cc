#include "runtime/eval/npy_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "comm/error.h"

namespace kvfold {
namespace {

[[noreturn]] void Fail(const std::filesystem::path& path, const char* what) {
  throw IoError(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

NpyWriter::NpyWriter(std::filesystem::path path, int64_t rows, int64_t cols)
    : path_(std::move(path)),
      partial_path_(path_.string() + ".partial"),
      file_(std::fopen(partial_path_.c_str(), "wb"), &std::fclose),
      rows_left_(rows),
      cols_(cols) {
  if (file_ == nullptr) Fail(partial_path_, "be created");
  // Magic, version, length of what follows; the header ends in a newline and the data starts at a
  // multiple of 64.
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr size_t kPrefixBytes = 10;
  header.append(63 - (kPrefixBytes + header.size()) % 64, ' ');
  header += '\n';
  const std::string prefix = {'\x93',
                              'N',
                              'U',
                              'M',
                              'P',
                              'Y',
                              '\x01',
                              '\x00',
                              static_cast<char>(header.size() & 0xff),
                              static_cast<char>(header.size() >> 8)};
  if (std::fwrite(prefix.data(), 1, prefix.size(), file_.get()) != prefix.size() ||
      std::fwrite(header.data(), 1, header.size(), file_.get()) != header.size()) {
    Fail(partial_path_, "be written");
  }
}

NpyWriter::~NpyWriter() {
  if (file_ == nullptr) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(partial_path_, ignored);
}

void NpyWriter::Append(std::span<const float> row) {
  KVFOLD_CHECK(static_cast<int64_t>(row.size()) == cols_ && rows_left_ > 0, "cols", row.size(),
               "rows_left", rows_left_);
  --rows_left_;
  if (std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size())
    Fail(partial_path_, "be written");
}

void NpyWriter::Close() {
  KVFOLD_CHECK(rows_left_ == 0, "rows_left", rows_left_);
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0)
    Fail(partial_path_, "be written");
  file_.reset();
  std::error_code error;
  std::filesystem::rename(partial_path_, path_, error);
  if (error) {
    std::error_code ignored;
    std::filesystem::remove(partial_path_, ignored);
    throw IoError(fmt::format("{}: cannot be renamed to {}: {}", partial_path_.string(),
                              path_.string(), error.message()));
  }
}

}  // namespace kvfold
