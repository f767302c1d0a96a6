// comm/cuda/cuda_backend.h: the CUDA side as the rest of the program sees it, without CUDA's
// headers. A build without CUDA has the same functions (no_cuda_backend.cc).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/device/device.h"

namespace kvfold {

struct CudaGpu {
  int ordinal = 0;   // in this process: CUDA_VISIBLE_DEVICES renumbers
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-6e2d...", as nvidia-smi prints it: the same in every process
  int major = 0;     // compute capability
  int minor = 0;
  int n_multiprocessors = 0;
  int64_t memory_bytes = 0;
};

struct CudaProbe {
  bool built = false;         // whether this program has the CUDA side
  std::string toolkit;        // "13.0", that it was built with; empty without CUDA
  std::string driver;         // "580.159.04", or the newest CUDA that it runs; empty: none found
  std::vector<CudaGpu> gpus;  // that this program can run on
  std::string problem;        // a clause that says why there are none; empty if there are
};

// What is here. Starts no GPU: takes milliseconds, and nothing where there is no driver.
CudaProbe ProbeCuda();

// A library that is opened at run time.
struct CudaLibraryInfo {
  int number = 0;       // NCCL: 23007 is 2.30.7; 0 where it cannot be opened
  std::string version;  // "2.30.7"; empty where it cannot be opened
  std::string path;
  std::string problem;  // why it cannot be opened
};
// Opens it: takes a second the first time.
CudaLibraryInfo FindNccl();
CudaLibraryInfo FindCublasLt();

// All below throw DeviceError where this build has no CUDA or the GPU cannot be used. One GPU a
// process, used by the calling thread.
std::unique_ptr<Device> MakeCudaDevice(int ordinal, int n_threads);
// Bytes in use on the GPU of `device` (of MakeCudaDevice), whoever uses them.
int64_t CudaUsedBytes(const Device& device);
// Over `host`, which outlives it. All ranks together, after MakeCudaDevice.
std::unique_ptr<Communicator> MakeCudaNcclCommunicator(Communicator& host, bool shares_devices);
std::unique_ptr<Communicator> MakeCudaStagedCommunicator(Communicator& host);

// What a rank takes on a GPU beside its buffers: the CUDA context with kvfold's and cuBLASLt's
// kernels, and NCCL's buffers where there are several ranks. An estimate, not a measurement: a run
// prints beside it what was measured.
inline constexpr int64_t kEstimatedCudaReservedBytes = int64_t{3} << 29;

}  // namespace kvfold
