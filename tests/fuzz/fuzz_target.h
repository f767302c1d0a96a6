// tests/fuzz/fuzz_target.h: what the fuzz targets share. A target takes any bytes as a user's file
// or line: a kvfold::Error is the right answer to a wrong one; any other exception, a crash, a
// sanitizer's report or a hang is a bug.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "comm/error.h"

namespace kvfold::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size_bytes) {
  return {reinterpret_cast<const char*>(data), size_bytes};
}

// Runs one reader over the input. An exception of another kind ends the program.
template <typename Action>
void Attempt(Action&& action) noexcept {
  try {
    std::forward<Action>(action)();
  } catch (const Error&) {
  }
}

// What MappedFile maps from now on, whatever the path: no disk is touched, and the bytes end where
// a sanitizer sees a read beyond them. `data` is borrowed.
void SetMappedBytes(const uint8_t* data, size_t size_bytes);

// A folder of this process's own, with empty files of these names for a reader that looks whether
// they are there before it maps them. It is gone when the process ends in peace.
class MarkedFolder {
 public:
  explicit MarkedFolder(std::initializer_list<std::string_view> names);
  ~MarkedFolder();
  MarkedFolder(const MarkedFolder&) = delete;
  MarkedFolder& operator=(const MarkedFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace kvfold::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes);
