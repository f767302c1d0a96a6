#include "runtime/eval/npy_writer.h"

#include <unistd.h>

#include <array>
#include <regex>
#include <utility>

#include "comm/error.h"

namespace kvfold {
namespace {

constexpr size_t kPrefixBytes = 10;  // magic, version, length of the dictionary after it
constexpr size_t kFlushBytes = size_t{1} << 20;

// The header ends in a newline and the data starts at a multiple of 64.
std::string Header(int64_t rows, int64_t cols) {
  std::string dictionary =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  dictionary.append(63 - (kPrefixBytes + dictionary.size()) % 64, ' ');
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

// Whether a file that begins so is a matrix of the kind that is written here.
bool IsOurs(const OutputFile& file) {
  std::array<char, 128> begin{};
  const std::string_view text(begin.data(), file.ReadAt(0, begin));
  static const std::regex dictionary(
      R"(\{'descr': '<f4', 'fortran_order': False, 'shape': \([0-9]+, [0-9]+\), \} *\n)");
  if (text.empty()) return true;
  if (!text.starts_with(std::string_view("\x93NUMPY\x01\x00", 8))) return false;
  const size_t line_end = text.find('\n', kPrefixBytes);
  return line_end != std::string_view::npos &&
         std::regex_match(text.begin() + kPrefixBytes, text.begin() + line_end + 1, dictionary);
}

[[noreturn]] void RefuseForeign(const std::string& path) {
  throw InputError(fmt::format(
      "{} is there and is no float32 matrix as it is to be written: name another file", path));
}

}  // namespace

NpyWriter::NpyWriter(OutputPlace place, int64_t rows, int64_t cols)
    : rows_left_(rows), cols_(cols) {
  RefuseSpoiling(place);
  const std::optional<FileIdentity> there =
      place.path == "-" ? IdentityOf(STDOUT_FILENO) : IdentityOf(place.path);
  if (place.path == "-" || (there && !S_ISREG(there->mode))) {
    file_ = std::make_unique<OutputFile>(place);
  } else {
    path_ = FollowLinks(place.path);
    if (there && !IsOurs(OutputFile(place))) RefuseForeign(place.path);
    OpenPartial(place);
  }
  buffer_ = Header(rows, cols);
  try {
    Flush();
  } catch (...) {
    Remove();
    throw;
  }
}

void NpyWriter::OpenPartial(const OutputPlace& place) {
  partial_path_ = path_.string() + ".partial";
  file_ = std::make_unique<OutputFile>(
      OutputPlace(partial_path_.string(), place.others, place.on_wait));
  if (!file_->regular()) return;
  try {
    // What another job was stopped from removing.
    file_->Lock();
    if (!IsOurs(*file_)) RefuseForeign(partial_path_.string());
    if (file_->Size() > 0 && !file_->Cut(0)) {
      throw IoError(fmt::format("{} cannot be emptied: remove it", partial_path_.string()));
    }
  } catch (...) {
    partial_path_.clear();
    throw;
  }
}

NpyWriter::~NpyWriter() { Remove(); }

void NpyWriter::Remove() noexcept {
  if (partial_path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(partial_path_, ignored);
}

void NpyWriter::Flush() { file_->Write(std::exchange(buffer_, {})); }

void NpyWriter::Append(std::span<const float> row) {
  KVFOLD_CHECK(static_cast<int64_t>(row.size()) == cols_ && rows_left_ > 0, "cols", row.size(),
               "rows_left", rows_left_);
  --rows_left_;
  buffer_.append(reinterpret_cast<const char*>(row.data()), row.size_bytes());
  if (buffer_.size() >= kFlushBytes) Flush();
}

void NpyWriter::Close() {
  KVFOLD_CHECK(rows_left_ == 0, "rows_left", rows_left_);
  Flush();
  if (path_.empty()) return;
  file_->Sync();
  file_->Rename(path_);
  partial_path_.clear();
  file_->SyncFolder();
}

}  // namespace kvfold
