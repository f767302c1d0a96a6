#include "models/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "comm/error.h"
#include "models/checkpoint/mapping_faults.h"

namespace kvfold {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path.string()) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer; it is refused below.
  const FileDescriptor fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    const int code = errno;
    std::error_code error;
    const std::filesystem::path target = std::filesystem::read_symlink(path, error);
    throw InputError(
        fmt::format("{}: cannot be opened: {}{}", path_, std::strerror(code),
                    error ? "" : fmt::format(" (it is a link to {})", target.string())));
  }
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) {
    throw IoError(fmt::format("{}: fstat failed: {}", path_, std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("{}: not a regular file", path_));
  }
  if (status.st_size == 0) return;
  void* const address = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE,
                               fd.get(), /*offset=*/0);
  if (address == MAP_FAILED) {
    throw IoError(fmt::format("{}: mapping {} bytes failed: {}", path_, status.st_size,
                              std::strerror(errno)));
  }
  data_ = static_cast<uint8_t*>(address);
  size_bytes_ = static_cast<uint64_t>(status.st_size);
  NoteMapping(data_, size_bytes_, path_);
}

void MappedFile::Unmap() noexcept {
  if (data_ == nullptr) return;
  ForgetMapping(data_);
  ::munmap(data_, size_bytes_);
}

void MappedFile::DropResidentPages() const {
  if (data_ != nullptr) ::madvise(data_, size_bytes_, MADV_DONTNEED);
}

}  // namespace kvfold
