#include "comm/mpi/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "comm/mpi/mpi_check.h"

namespace kvfold::internal {
namespace {

// A descriptor that is closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

// What rank 0 made, as the others find it. An empty path: nothing, because of `problem`.
struct Offer {
  char path[256] = {};
  uint64_t token = 0;  // stands at its beginning: another file of that path is not it
  char problem[256] = {};
};

void SetText(char (&to)[256], const std::string& text) { to[text.copy(to, sizeof(to) - 1)] = '\0'; }

std::string SystemText(const char* call) {
  return fmt::format("{}: {}", call, std::strerror(errno));
}

uint64_t RandomToken() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

// The whole file of `bytes`, nothing of it taken yet but its token. Empty, or what is wrong.
std::string Prepare(int file, int64_t bytes, uint64_t token) {
  // Beyond this limit the system answers by a signal, not by an error.
  rlimit largest_file{};
  if (getrlimit(RLIMIT_FSIZE, &largest_file) == 0 &&
      largest_file.rlim_cur < static_cast<rlim_t>(bytes)) {
    return fmt::format("files may have {} bytes at most (ulimit -f), {} are needed",
                       largest_file.rlim_cur, bytes);
  }
  if (ftruncate(file, bytes) != 0) return SystemText("ftruncate");
  if (pwrite(file, &token, sizeof(token), 0) != sizeof(token)) return SystemText("pwrite");
  return {};
}

// Opens what was offered and takes this rank's pages of it; then `data` is all of it, mapped.
// Empty, or what is wrong.
std::string Take(const Offer& offer, Descriptor& file, int64_t part_begin, int64_t part_bytes,
                 int64_t bytes, std::byte** data) {
  if (file.number() < 0) file = Descriptor(open(offer.path, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) return SystemText(offer.path);
  struct stat status {};
  uint64_t token = 0;
  if (fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size != bytes ||
      pread(file.number(), &token, sizeof(token), 0) != sizeof(token) || token != offer.token) {
    return fmt::format("{} is not what rank 0 made: the ranks do not see the same files",
                       offer.path);
  }
  if (const int error = posix_fallocate(file.number(), part_begin, part_bytes); error != 0) {
    return fmt::format("{} bytes of shared memory: {}", part_bytes, std::strerror(error));
  }
  void* const mapped = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                            file.number(), 0);
  if (mapped == MAP_FAILED) return SystemText("mmap");
  *data = static_cast<std::byte*>(mapped);
  return {};
}

// Rank 0's offer in a folder, or in no file system where `folder` is empty.
Descriptor Make(const std::string& folder, int size, int64_t bytes, Offer& offer) {
  offer.token = RandomToken();
  std::string path;
  Descriptor file;
  std::string problem;
  if (folder.empty()) {
    file = Descriptor(memfd_create("kvfold", MFD_CLOEXEC));
    path = fmt::format("/proc/{}/fd/{}", getpid(), file.number());
    if (file.number() < 0) problem = SystemText("memfd_create");
  } else if (const int64_t free = FreeBytes(folder), needed = bytes + size * kOpenMpiSegmentBytes;
             free < needed) {
    problem = fmt::format("{} has {} bytes free, {} are needed, with what MPI itself may take",
                          folder, free, needed);
  } else {
    path = fmt::format("{}/kvfold-{}-{:016x}", folder, getpid(), offer.token);
    file = Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.number() < 0) problem = SystemText(path.c_str());
  }
  if (problem.empty()) problem = Prepare(file.number(), bytes, offer.token);
  if (problem.empty()) {
    SetText(offer.path, path);
  } else {
    SetText(offer.problem, problem);
    if (!folder.empty() && file.number() >= 0) unlink(path.c_str());
  }
  return file;
}

// The first rank's problem, empty where none has any. Collective.
std::string AgreedProblem(MPI_Comm communicator, int rank, int size, const std::string& mine) {
  char own[256];
  SetText(own, mine);
  std::vector<char> all(sizeof(own) * static_cast<size_t>(size));
  CheckMpi(
      MPI_Allgather(own, sizeof(own), MPI_CHAR, all.data(), sizeof(own), MPI_CHAR, communicator),
      "agreeing on shared memory (MPI_Allgather)", rank);
  for (int r = 0; r < size; ++r) {
    const char* const text = all.data() + sizeof(own) * static_cast<size_t>(r);
    if (text[0] != '\0') return fmt::format("rank {}: {}", r, text);
  }
  return {};
}

}  // namespace

int64_t FreeBytes(const std::string& folder) {
  struct statvfs space {};
  if (access(folder.c_str(), W_OK) != 0 || statvfs(folder.c_str(), &space) != 0) return 0;
  return static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
}

SharedMemory::SharedMemory(MPI_Comm communicator, int rank, int size, int64_t part_bytes,
                           const std::vector<std::string>& places) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  part_bytes_ = RoundUp(part_bytes, page);
  bytes_ = part_bytes_ * size;
  std::string problem;
  for (const std::string& place : places) {
    Offer offer;
    Descriptor file;
    if (rank == 0) file = Make(place, size, bytes_, offer);
    CheckMpi(MPI_Bcast(&offer, sizeof(offer), MPI_BYTE, 0, communicator),
             "offering shared memory (MPI_Bcast)", rank);
    if (offer.path[0] == '\0') {
      problem = fmt::format("rank 0: {}", offer.problem);
      continue;
    }
    problem = AgreedProblem(communicator, rank, size,
                            Take(offer, file, rank * part_bytes_, part_bytes_, bytes_, &data_));
    if (rank == 0 && !place.empty()) unlink(offer.path);
    if (problem.empty()) {
      // Nobody looks for the token any more.
      if (rank == 0) std::memset(data_, 0, sizeof(offer.token));
      CheckMpi(MPI_Barrier(communicator), "MPI_Barrier", rank);
      return;
    }
    if (data_ != nullptr) munmap(std::exchange(data_, nullptr), static_cast<size_t>(bytes_));
  }
  throw CommError(fmt::format("no memory that the ranks of this host share, {}", problem));
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace kvfold::internal
