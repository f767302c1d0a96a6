#include "comm/files/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <thread>

#include "comm/error.h"

namespace kvfold {
namespace {

constexpr int kWaitMs = 100;

// A system call as long as signals interrupt it.
template <typename Call>
auto Uninterrupted(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// How file systems say that they do not know a call, as Lustre, NFS, SMB and FUSE do.
bool IsUnsupported(int cause) {
  return cause == EINVAL || cause == ENOSYS || cause == EOPNOTSUPP || cause == ENOTSUP ||
         cause == ENOTTY || cause == EROFS;
}

std::string Reason(int cause) { return std::strerror(cause); }

}  // namespace

void RefuseSpoiling(const OutputPlace& place) {
  const std::optional<FileIdentity> output =
      place.path == "-" ? IdentityOf(STDOUT_FILENO) : IdentityOf(place.path);
  if (output && S_ISDIR(output->mode))
    throw InputError(fmt::format("{} is a folder, expected a file to be written", place.path));
  if (output && S_ISBLK(output->mode))
    throw InputError(fmt::format("{} is a disk, expected a file to be written", place.path));
  for (const NamedFile& other : place.others) {
    const std::optional<FileIdentity> used =
        other.path.empty() ? IdentityOf(other.descriptor) : IdentityOf(other.path);
    if (!used && !other.path.empty())
      throw InputError(fmt::format("cannot read {}: {}", other.path, Reason(errno)));
    if (output && used && Clashes(*output, other, *used)) {
      throw InputError(fmt::format("{} is to be written and is {}: name another file",
                                   place.path == "-" ? "standard output" : place.path, other.use));
    }
  }
}

OutputFile::OutputFile(const OutputPlace& place)
    : name_(place.path == "-" ? "standard output" : place.path),
      path_(place.path),
      on_wait_(place.on_wait) {
  RefuseSpoiling(place);
  try {
    Open();
    const std::optional<FileIdentity> identity = IdentityOf(file_);
    if (!identity) Fail(errno);
    identity_ = *identity;
    regular_ = S_ISREG(identity_.mode) && path_ != "-";
    named_ = regular_ && Size() >= 0;
    for (const NamedFile& other : place.others) Refuse(other);  // links may have moved meanwhile
  } catch (...) {
    if (file_ >= 0) close(file_);
    throw;
  }
}

OutputFile::~OutputFile() { close(file_); }

void OutputFile::Open() {
  if (path_ == "-") {
    Duplicate(STDOUT_FILENO);
    return;
  }
  const std::optional<FileIdentity> there = IdentityOf(path_);
  if (there && !S_ISREG(there->mode)) {
    OpenStream();
    return;
  }
  constexpr int kFlags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY;
  // Only what is not there is made: in folders that all may write to, O_CREAT alone is refused for
  // a file of somebody else's.
  file_ =
      Uninterrupted([&] { return open(path_.c_str(), there ? kFlags : kFlags | O_CREAT, 0666); });
  if (file_ < 0) throw InputError(fmt::format("cannot write {}: {}", path_, Reason(errno)));
}

void OutputFile::OpenStream() {
  // A pipe that was handed to this process is taken as it is: opened anew it would wait for a
  // reader that has gone, and a socket cannot be opened at all.
  if (const std::optional<int> own = OwnDescriptor(path_)) {
    Duplicate(*own);
    return;
  }
  // For writing alone: whoever could read it too would never hear that its reader has gone.
  constexpr int kFlags = O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
  while ((file_ = open(path_.c_str(), kFlags)) < 0) {
    const int cause = errno;
    const bool waits_for_reader =
        cause == ENXIO && S_ISFIFO(IdentityOf(path_).value_or(FileIdentity{}).mode);
    if (cause != EINTR && !waits_for_reader)
      throw InputError(fmt::format("cannot write {}: {}", path_, Reason(cause)));
    if (on_wait_) on_wait_();
    std::this_thread::sleep_for(std::chrono::milliseconds(kWaitMs / 2));
  }
}

void OutputFile::Duplicate(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
    throw IoError(fmt::format("cannot write {}: it is not open for writing", name_));
  file_ = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  if (file_ < 0) throw IoError(fmt::format("cannot write {}: {}", name_, Reason(errno)));
}

void OutputFile::Refuse(const NamedFile& other) const {
  const std::optional<FileIdentity> used =
      other.path.empty() ? IdentityOf(other.descriptor) : IdentityOf(other.path);
  if (used && Clashes(identity_, other, *used)) {
    throw InputError(
        fmt::format("{} is to be written and is {}: name another file", name_, other.use));
  }
}

void OutputFile::Lock() {
  KVFOLD_CHECK(regular_, "name", name_);
  const auto held = [&] {
    return InputError(fmt::format("{} is being written by another process", name_));
  };
  if (Uninterrupted([&] { return flock(file_, LOCK_EX | LOCK_NB); }) != 0) {
    if (errno == EWOULDBLOCK) throw held();
    const int cause = errno;
    // Some file systems know locks of this kind only.
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (Uninterrupted([&] { return fcntl(file_, F_OFD_SETLK, &whole); }) == 0) {
      spdlog::info("{} is locked by fcntl, its file system has no flock: {}", name_, Reason(cause));
    } else if (errno == EAGAIN) {
      throw held();
    } else {
      spdlog::warn(
          "{} cannot be locked on this file system ({}): nothing keeps another process from "
          "writing it too",
          name_, Reason(cause));
    }
  }
  const std::optional<FileIdentity> there = IdentityOf(path_);
  if (there && !(*there == identity_)) {
    throw InputError(
        fmt::format("{} was put in place by another process while it was opened", name_));
  }
}

int64_t OutputFile::Size() const {
  struct stat status {};
  if (fstat(file_, &status) != 0) Fail(errno);
  if (named_ && status.st_nlink == 0) {
    throw IoError(fmt::format(
        "{} was removed or replaced while it was written: what is written now would be lost",
        name_));
  }
  return status.st_size;
}

size_t OutputFile::ReadAt(int64_t offset, std::span<char> bytes) const {
  size_t n_read = 0;
  while (n_read < bytes.size()) {
    const ssize_t n = Uninterrupted([&] {
      return pread(file_, bytes.data() + n_read, bytes.size() - n_read,
                   static_cast<off_t>(offset) + static_cast<off_t>(n_read));
    });
    if (n < 0) throw IoError(fmt::format("cannot read {}: {}", name_, Reason(errno)));
    if (n == 0) break;
    n_read += static_cast<size_t>(n);
  }
  return n_read;
}

bool OutputFile::Cut(int64_t size_bytes) {
  if (Uninterrupted([&] { return ftruncate(file_, static_cast<off_t>(size_bytes)); }) == 0)
    return true;
  // EPERM: a file that may only grow.
  if (!IsUnsupported(errno) && errno != EPERM) Fail(errno);
  spdlog::warn("{} cannot be cut on this file system: {}", name_, Reason(errno));
  return false;
}

void OutputFile::Rename(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(path_, path, error);
  if (error) {
    throw IoError(
        fmt::format("{}: cannot be renamed to {}: {}", name_, path.string(), error.message()));
  }
  name_ = path_ = path.string();
}

void OutputFile::SyncFolder() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(path_, error);
  if (error) return;
  const int folder = open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;  // a folder that may be written to but not read
  const bool synced = Uninterrupted([&] { return fsync(folder); }) == 0;
  const int cause = errno;
  close(folder);
  if (synced) return;
  // Folders are also refused as what cannot be opened for writing.
  const bool unsupported = IsUnsupported(cause) || cause == EBADF || cause == EACCES ||
                           cause == EPERM || cause == EISDIR;
  if (!unsupported)
    throw IoError(fmt::format("cannot write the folder of {}: {}", name_, Reason(cause)));
  WarnUnsynced(cause);
}

void OutputFile::Sync() {
  if (!regular_) return;
  if (Uninterrupted([&] { return fsync(file_); }) == 0) return;
  if (!IsUnsupported(errno)) Fail(errno);
  WarnUnsynced(errno);
}

void OutputFile::WarnUnsynced(int cause) {
  if (std::exchange(warned_unsynced_, true)) return;
  spdlog::warn(
      "{} cannot be synced on this file system ({}): what was written last may be lost where this "
      "machine goes down",
      name_, Reason(cause));
}

void OutputFile::Wait() {
  for (;;) {
    struct pollfd writable {
      file_, POLLOUT, 0
    };
    if (poll(&writable, 1, kWaitMs) > 0) return;  // or its reader has gone, which writing tells
    if (on_wait_) on_wait_();
  }
}

size_t OutputFile::WriteSome(std::string_view bytes) {
  if (!regular_) {
    Wait();
    // A pipe that is ready takes so many bytes without blocking, also one that was handed over in
    // blocking mode, which is its other users' as well.
    bytes = bytes.substr(0, PIPE_BUF);
  }
  const ssize_t n = S_ISSOCK(identity_.mode)
                        ? send(file_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT)
                        : write(file_, bytes.data(), bytes.size());
  if (n > 0) return static_cast<size_t>(n);
  if (n == 0) Fail(ENOSPC);
  if (errno == EAGAIN) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (errno != EINTR && errno != EAGAIN) Fail(errno);
  return 0;
}

void OutputFile::Write(std::string_view bytes) {
  while (!bytes.empty()) bytes.remove_prefix(WriteSome(bytes));
}

void OutputFile::Append(std::string_view bytes) {
  if (!regular_) {
    Write(bytes);
    return;
  }
  const int64_t size_bytes = Size();
  std::string line_ended;
  if (torn_) {
    line_ended.append("\n").append(bytes);
    bytes = line_ended;
  }
  std::string_view left = bytes;
  try {
    while (!left.empty()) left.remove_prefix(WriteSome(left));
    Sync();
  } catch (...) {
    TakeBack(size_bytes, static_cast<int64_t>(bytes.size() - left.size()));
    throw;
  }
  torn_ = false;
}

void OutputFile::TakeBack(int64_t size_bytes, int64_t written_bytes) noexcept {
  if (written_bytes == 0) return;
  struct stat status {};
  // Not what another process has appended meanwhile, where there are no locks.
  const bool ours_alone =
      fstat(file_, &status) == 0 && status.st_size == size_bytes + written_bytes;
  const bool cut = ours_alone && Uninterrupted([&] {
                                   return ftruncate(file_, static_cast<off_t>(size_bytes));
                                 }) == 0;
  if (!cut) torn_ = true;
}

void OutputFile::Fail(int cause) const {
  throw IoError(fmt::format("cannot write {}: {}", name_, Reason(cause)));
}

}  // namespace kvfold
