// comm/error.h: the one exception family of kvfold.
//
// A problem that can be mended or told is an Error; its code is the exit code of the process
// (docs/command_line.md). A broken invariant is a KVFOLD_CHECK: a bug of ours, reported with
// the values that show it. User input is never checked by KVFOLD_CHECK. What() is one sentence that
// names the file, tensor or field, what was found and what was expected.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace kvfold {

enum class ErrorCode : int {
  kFailed = 1,      // failed while running
  kBadInput = 2,    // wrong usage or bad input: file, field, option
  kDoesNotFit = 3,  // asks for more memory than there is
  kStopped = 4,     // stopped by a signal; the same command goes on
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// A file, a field or an option that cannot be used as given.
class InputError : public Error {
 public:
  explicit InputError(const std::string& what) : Error(ErrorCode::kBadInput, what) {}
};

// The operating system failed to read, write or map a file.
class IoError : public Error {
 public:
  explicit IoError(const std::string& what) : Error(ErrorCode::kFailed, what) {}
};

// A pool or a device has less room than was asked for. The failed call has changed nothing.
class CapacityError : public Error {
 public:
  explicit CapacityError(const std::string& what) : Error(ErrorCode::kDoesNotFit, what) {}
};

// Views handed to one call do not agree.
class ShapeError : public Error {
 public:
  explicit ShapeError(const std::string& what) : Error(ErrorCode::kFailed, what) {}
};

// An accelerator or its driver failed. Its memory and streams are not to be used again.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& what) : Error(ErrorCode::kFailed, what) {}
};

// A collective failed or another rank has gone.
class CommError : public Error {
 public:
  explicit CommError(const std::string& what) : Error(ErrorCode::kFailed, what) {}
};

namespace internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& values);

inline std::string FormatValues() { return {}; }
template <typename Name, typename Value, typename... Rest>
std::string FormatValues(const Name& name, const Value& value, const Rest&... rest) {
  return fmt::format(" {}={}", name, value) + FormatValues(rest...);
}

}  // namespace internal

// KVFOLD_CHECK(rows == n, "rows", rows, "n", n): throws std::logic_error with file, line, condition
// and the named values.
#define KVFOLD_CHECK(condition, ...)                                                  \
  do {                                                                                \
    if (!(condition)) [[unlikely]] {                                                  \
      ::kvfold::internal::CheckFailed(__FILE__, __LINE__, #condition,                 \
                                      ::kvfold::internal::FormatValues(__VA_ARGS__)); \
    }                                                                                 \
  } while (false)

}  // namespace kvfold
