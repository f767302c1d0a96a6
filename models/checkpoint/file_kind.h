// models/checkpoint/file_kind.h: what a file is, told by its contents and never by its name.
// Whoever opens a file of a user's asks here first, so that a file of another kind is refused by
// what it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kvfold {

enum class FileKind {
  kGguf,
  kSafetensors,
  kJson,     // an object or array, behind blanks and a byte order mark at most; UTF-16 too
  kForeign,  // recognised, and nothing that is read here
  kUnknown,
};

struct FileNature {
  FileKind kind = FileKind::kUnknown;
  // What an error message calls it: "a zip archive, as PyTorch's .bin and .pt files are". Of an
  // unknown file it says how that begins.
  std::string description;
};

// The description of a file that other programs read their vocabulary from.
inline constexpr std::string_view kSentencePiece = "a SentencePiece vocabulary";

// `bytes` are the file's; no more than the first kMostSniffedBytes are looked at, and size_bytes is
// how long the whole file is.
inline constexpr size_t kMostSniffedBytes = 1024;
FileNature SniffFile(std::span<const uint8_t> bytes, uint64_t size_bytes);
// The same for a file that is not mapped; kUnknown where it cannot be read.
FileNature SniffFile(const std::filesystem::path& path);

// Throws InputError "PATH: a Git LFS pointer ..., expected WHAT" where the file is recognised as
// another kind than `expected`. An unknown one passes: its reader knows better what is wrong.
void RefuseOtherKinds(const std::string& path, std::span<const uint8_t> bytes, FileKind expected,
                      std::string_view what);

}  // namespace kvfold
