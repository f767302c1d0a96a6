// comm/mpi/shared_memory.h: memory that all ranks of one host map, a part for each of them.
//
// MPI_Win_allocate_shared would give the same, but Open MPI lays its segment into /dev/shm without
// taking the pages: where that is small or full, a start hangs (one rank is refused and the others
// wait for it), or a page that is touched later ends the process by SIGBUS. Here every page is
// taken before the constructor returns, and all ranks have the memory or none has.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kvfold::internal {

class SharedMemory {
 public:
  // Collective; all ranks of `communicator` must be on one host. Zeros; parts begin on pages, and a
  // rank's pages are taken by itself, so that they are near it. A place is a folder, whose file is
  // gone when this returns, or "": memory of no file system (memfd). The first place is taken where
  // every rank can have it. Throws CommError, on every rank or none, which says what kept them from
  // the last one.
  SharedMemory(MPI_Comm communicator, int rank, int size, int64_t part_bytes,
               const std::vector<std::string>& places = {"", "/dev/shm"});
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* part(int rank) const { return data_ + rank * part_bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t part_bytes_ = 0;  // whole pages
  int64_t bytes_ = 0;
};

// Bytes of a rank that Open MPI's own shared-memory transport (its btl "vader", or "sm") may still
// take in /dev/shm: a file of so many, whose pages come as they are first touched.
inline constexpr int64_t kOpenMpiSegmentBytes = int64_t{4} << 20;

// Bytes that a file in `folder` may still take; 0 where there is no such folder or it cannot be
// written to.
int64_t FreeBytes(const std::string& folder);

}  // namespace kvfold::internal
