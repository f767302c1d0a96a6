// Preloaded by tests: a file system that refuses what it does not know. Each variable holds the
// errno that a call fails with; calls whose variable is not set go through.
//
//   REFUSE_FLOCK, REFUSE_FCNTL_LOCK, REFUSE_FTRUNCATE
//   REFUSE_FSYNC, REFUSE_FOLDER_FSYNC    of files and of folders
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

namespace {

bool Refused(const char* variable) {
  const char* const value = std::getenv(variable);
  if (value == nullptr) return false;
  errno = std::atoi(value);
  return true;
}

template <typename... Arguments>
int GoThrough(const char* name, Arguments... arguments) {
  return reinterpret_cast<int (*)(Arguments...)>(dlsym(RTLD_NEXT, name))(arguments...);
}

int Fcntl(const char* name, int file, int command, void* argument) {
  const bool locks = command == F_OFD_SETLK || command == F_SETLK;
  if (locks && Refused("REFUSE_FCNTL_LOCK")) return -1;
  return reinterpret_cast<int (*)(int, int, ...)>(dlsym(RTLD_NEXT, name))(file, command, argument);
}

}  // namespace

extern "C" {

int flock(int file, int operation) noexcept {
  return Refused("REFUSE_FLOCK") ? -1 : GoThrough("flock", file, operation);
}

int fcntl(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  return Fcntl("fcntl", file, command, argument);
}

int fcntl64(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  return Fcntl("fcntl64", file, command, argument);
}

int fsync(int file) {
  struct stat status {};
  const bool is_folder = fstat(file, &status) == 0 && S_ISDIR(status.st_mode);
  return Refused(is_folder ? "REFUSE_FOLDER_FSYNC" : "REFUSE_FSYNC") ? -1
                                                                     : GoThrough("fsync", file);
}

int ftruncate(int file, off_t length) noexcept {
  return Refused("REFUSE_FTRUNCATE") ? -1 : GoThrough("ftruncate", file, length);
}

int ftruncate64(int file, off64_t length) noexcept {
  return Refused("REFUSE_FTRUNCATE") ? -1 : GoThrough("ftruncate64", file, length);
}

}  // extern "C"
