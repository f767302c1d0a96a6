#include "comm/device/cpu_device.h"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int64_t kLargestBytes = int64_t{1} << 62;  // room to round up without overflow

int64_t PageBytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

void Unmap(void* data, int64_t bytes) {
  if (bytes > 0 && munmap(data, static_cast<size_t>(bytes)) != 0) {
    spdlog::error("cpu: cannot unmap {} bytes: {}", bytes, std::strerror(errno));
  }
}

// `bytes` (whole pages) of zeros that start on a multiple of `alignment`; null where refused.
void* MapAligned(int64_t bytes, int64_t alignment) {
  // mmap promises no more than a page: map too much, then give the ends back.
  const int64_t mapped_bytes = alignment > PageBytes() ? bytes + alignment : bytes;
  void* const mapped = mmap(nullptr, static_cast<size_t>(mapped_bytes), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  if (mapped_bytes == bytes) return mapped;
  std::byte* const begin = static_cast<std::byte*>(mapped);
  const int64_t head_bytes =
      (alignment - static_cast<int64_t>(reinterpret_cast<uintptr_t>(mapped) % alignment)) %
      alignment;
  Unmap(begin, head_bytes);
  Unmap(begin + head_bytes + bytes, alignment - head_bytes);
  return begin + head_bytes;
}

}  // namespace

CpuDevice::CpuDevice(int n_threads, std::optional<std::chrono::microseconds> spin_budget)
    : pool_(n_threads, spin_budget) {}

Buffer CpuDevice::Allocate(int64_t bytes) {
  if (bytes < 0 || bytes > kLargestBytes) {
    throw CapacityError(
        fmt::format("cpu: asked for {} bytes, expected 0 to {}", bytes, kLargestBytes));
  }
  if (bytes == 0) return Buffer();
  const bool is_huge = bytes >= kHugePageBytes;
  const int64_t mapped_bytes = RoundUp(bytes, PageBytes());
  void* const data = MapAligned(mapped_bytes, is_huge ? kHugePageBytes : PageBytes());
  if (data == nullptr) {
    throw CapacityError(fmt::format("cpu: the system refused {} bytes beside the {} allocated: {}",
                                    bytes, allocated_bytes(), std::strerror(errno)));
  }
  // Advice only: a kernel without transparent huge pages refuses it, and nothing is lost but speed.
  if (is_huge) madvise(data, static_cast<size_t>(mapped_bytes), MADV_HUGEPAGE);
  allocated_bytes_ += bytes;
  return Buffer(data, bytes, [this, mapped_bytes](void* mapped, int64_t asked_bytes) {
    Unmap(mapped, mapped_bytes);
    allocated_bytes_ -= asked_bytes;
  });
}

}  // namespace kvfold
