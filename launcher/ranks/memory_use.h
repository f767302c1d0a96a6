// launcher/ranks/memory_use.h: what ranks have really taken, told to all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "launcher/ranks/rank_device.h"
#include "launcher/ranks/rank_group.h"

namespace kvfold {

// Bytes by rank; of pretended ranks the first's alone. The device's are empty on CPUs.
struct MemoryUse {
  std::vector<int64_t> resident_peaks;   // of its process
  std::vector<int64_t> device_peaks;     // of its GPU by all its ranks, after loading or now
  std::vector<int64_t> device_reserved;  // of its GPU now, beside this rank's buffers: context,
                                         // kernels, libraries

  // What a user watches: the GPU's where there is one.
  const std::vector<int64_t>& peaks() const {
    return device_peaks.empty() ? resident_peaks : device_peaks;
  }
};

// All ranks together.
MemoryUse GatherMemoryUse(RankGroup& group, RankDevice& device);

}  // namespace kvfold
