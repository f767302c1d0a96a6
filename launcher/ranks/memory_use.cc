#include "launcher/ranks/memory_use.h"

#include <sys/resource.h>

#include "comm/gather_values.h"

namespace kvfold {
namespace {

int64_t ResidentPeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::vector<int64_t> Gather(RankGroup& group, int64_t mine) {
  std::vector<int64_t> all = GatherValues(group.communicator(), mine);
  if (group.pretended()) all.resize(1);
  return all;
}

}  // namespace

MemoryUse GatherMemoryUse(RankGroup& group, RankDevice& device) {
  MemoryUse use;
  use.resident_peaks = Gather(group, ResidentPeakBytes());
  if (device.kind() == DeviceKind::kCpu) return use;
  use.device_peaks = Gather(group, device.device_peak_bytes());
  use.device_reserved = Gather(group, device.measured_reserved_bytes());
  return use;
}

}  // namespace kvfold
