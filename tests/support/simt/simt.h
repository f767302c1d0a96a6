// tests/support/simt/simt.h: runs a kernel's body on the CPU, thread block after thread block, each
// CUDA thread a fiber of its own, so that the sources which a GPU runs are tested without one.
//
// What it makes visible: accesses outside of registered device memory or of the block's shared
// memory, or not aligned to their size; barriers and warp collectives that not all threads reach,
// or where they call different ones (both end the launch with SimtError); shared memory that is
// read before it is written (it starts as NaN); and missing synchronisation, by running a kernel
// under several schedules (Schedule) whose results must be equal bit for bit.
//
// One launch at a time in a process: others wait for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>

namespace kvfold::simt {

class SimtError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The order in which ready threads run, and when an asynchronous copy lands.
struct Schedule {
  bool last_warp_first = false;
  bool copies_land_late = true;  // at the wait for their group; else as soon as they are started
};

struct LaunchShape {
  int grid_x = 1;
  int grid_y = 1;
  int threads = 32;  // a multiple of 32
  int64_t shared_bytes = 0;
};

// Throws SimtError naming block and thread.
void Launch(const LaunchShape& shape, const Schedule& schedule, const std::function<void()>& body);

// Device memory that kernels may touch.
void RegisterMemory(const void* data, int64_t bytes);
void UnregisterMemory(const void* data);

}  // namespace kvfold::simt
