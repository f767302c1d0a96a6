#include "comm/device/cuda/cuda_device.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "comm/device/cuda/cuda_check.h"

namespace kvfold {
namespace {

constexpr int kMaxUploads = 1024;  // copies in flight; a step needs a few

// Destructors cannot throw. At the process's end CUDA may be gone already; that is no problem.
void LogProblem(cudaError_t code, const char* what) noexcept {
  if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
  spdlog::error("{} failed: {}", what, CudaErrorText(code));
}

int64_t Attribute(cudaDeviceAttr attribute, int ordinal) {
  int value = 0;
  CudaCheck(cudaDeviceGetAttribute(&value, attribute, ordinal), "cudaDeviceGetAttribute");
  return value;
}

std::string UuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

// Makes it the calling thread's device, before any member that needs one.
CudaProperties Use(int ordinal) {
  CudaCheck(cudaSetDevice(ordinal), fmt::format("taking GPU {}", ordinal));
  return ReadCudaProperties(ordinal);
}

}  // namespace

CudaProperties ReadCudaProperties(int ordinal) {
  cudaDeviceProp found{};
  CudaCheck(cudaGetDeviceProperties(&found, ordinal), "cudaGetDeviceProperties");
  CudaProperties properties;
  properties.ordinal = ordinal;
  properties.name = found.name;
  properties.uuid = UuidText(found.uuid);
  properties.major = found.major;
  properties.minor = found.minor;
  properties.n_multiprocessors = found.multiProcessorCount;
  properties.memory_bytes = static_cast<int64_t>(found.totalGlobalMem);
  properties.l2_bytes = found.l2CacheSize;
  properties.shared_bytes_per_block = Attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
  properties.shared_bytes_per_multiprocessor =
      Attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, ordinal);
  properties.threads_per_multiprocessor = found.maxThreadsPerMultiProcessor;
  return properties;
}

CudaStream::CudaStream() {
  CudaCheck(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a CUDA stream");
}

CudaStream::~CudaStream() { LogProblem(cudaStreamDestroy(stream_), "cudaStreamDestroy"); }

void CudaStream::Synchronize() {
  CudaCheck(cudaStreamSynchronize(stream_), "waiting for the GPU's work");
}

std::unique_ptr<StreamClock> CudaStream::MakeClock(int64_t n_moments) {
  return std::make_unique<CudaClock>(stream_, n_moments);
}

CudaClock::CudaClock(cudaStream_t stream, int64_t n_moments) : stream_(stream) {
  events_.reserve(static_cast<size_t>(n_moments));
  try {
    while (static_cast<int64_t>(events_.size()) < n_moments) {
      cudaEvent_t event = nullptr;
      CudaCheck(cudaEventCreate(&event), "making a CUDA event");
      events_.push_back(event);
    }
  } catch (...) {
    Destroy();
    throw;
  }
}

CudaClock::~CudaClock() { Destroy(); }

void CudaClock::Destroy() noexcept {
  for (cudaEvent_t event : events_) LogProblem(cudaEventDestroy(event), "cudaEventDestroy");
}

void CudaClock::Mark(int64_t moment) {
  CudaCheck(cudaEventRecord(events_.at(static_cast<size_t>(moment)), stream_), "marking a moment");
}

double CudaClock::Seconds(int64_t from, int64_t to) {
  const cudaEvent_t last = events_.at(static_cast<size_t>(to));
  CudaCheck(cudaEventSynchronize(last), "waiting for a moment of the GPU's work");
  float elapsed_ms = 0.0f;
  CudaCheck(cudaEventElapsedTime(&elapsed_ms, events_.at(static_cast<size_t>(from)), last),
            "reading a moment of the GPU's work");
  return 1e-3 * static_cast<double>(elapsed_ms);
}

cudaStream_t NativeStream(Stream& stream) {
  auto* const cuda = dynamic_cast<CudaStream*>(&stream);
  KVFOLD_CHECK(cuda != nullptr, "stream", "of another device");
  return cuda->native();
}

PinnedMemory::PinnedMemory(int64_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  if (const cudaError_t code =
          cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault);
      code != cudaSuccess) {
    cudaGetLastError();
    throw CapacityError(fmt::format("cuda: the system refused {} bytes of page-locked memory: {}",
                                    bytes, CudaErrorText(code)));
  }
  data_ = static_cast<std::byte*>(data);
}

PinnedMemory::~PinnedMemory() { LogProblem(cudaFreeHost(data_), "cudaFreeHost"); }

CudaCopyEngine::CudaCopyEngine(cudaStream_t stream, int max_copies)
    : stream_(stream), events_(static_cast<size_t>(max_copies), nullptr) {
  for (cudaEvent_t& event : events_) {
    CudaCheck(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making a CUDA event");
  }
}

CudaCopyEngine::~CudaCopyEngine() {
  for (cudaEvent_t event : events_) LogProblem(cudaEventDestroy(event), "cudaEventDestroy");
}

void CudaCopyEngine::Start(const std::byte* from, std::byte* to, int64_t bytes, int64_t ticket) {
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream_),
            "copying to the GPU");
  CudaCheck(cudaEventRecord(Event(ticket), stream_), "marking a copy to the GPU");
}

bool CudaCopyEngine::Done(int64_t ticket) {
  const cudaError_t code = cudaEventQuery(Event(ticket));
  if (code == cudaErrorNotReady) {
    cudaGetLastError();  // not an error to whoever asks for the last one
    return false;
  }
  CudaCheck(code, "copying to the GPU");
  return true;
}

void CudaCopyEngine::Await(int64_t ticket) {
  CudaCheck(cudaEventSynchronize(Event(ticket)), "copying to the GPU");
}

CudaDevice::CudaDevice(const CudaDeviceOptions& options)
    : properties_(Use(options.ordinal)),
      pool_(options.n_threads),
      engine_(stream_.native(), kMaxUploads),
      pinned_(options.upload_ring_bytes),
      ring_(std::make_unique<UploadRing>(engine_, pinned_.span(), kMaxUploads)) {}

CudaDevice::~CudaDevice() {
  // Copies under way read pinned memory that is about to go.
  LogProblem(cudaStreamSynchronize(stream_.native()), "waiting for the GPU's work");
}

Buffer CudaDevice::Allocate(int64_t bytes) {
  if (bytes < 0) throw CapacityError(fmt::format("cuda: asked for {} bytes", bytes));
  if (bytes == 0) return Buffer();
  void* data = nullptr;
  if (const cudaError_t code = cudaMalloc(&data, static_cast<size_t>(bytes)); code != cudaSuccess) {
    cudaGetLastError();
    if (code != cudaErrorMemoryAllocation) CudaCheck(code, "cudaMalloc");
    throw CapacityError(
        fmt::format("cuda: GPU {} ({}) refused {} bytes: of its {} bytes {} are in use, {} of them "
                    "by this rank",
                    properties_.ordinal, properties_.name, bytes, properties_.memory_bytes,
                    used_bytes(), allocated_bytes_));
  }
  allocated_bytes_ += bytes;
  Buffer buffer(data, bytes, [this](void* owned, int64_t owned_bytes) {
    LogProblem(cudaFree(owned), "cudaFree");
    allocated_bytes_ -= owned_bytes;
  });
  CudaCheck(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), stream_.native()),
            "zeroing GPU memory");
  return buffer;
}

void CudaDevice::CopyWithin(const void* from, void* to, int64_t bytes) {
  if (bytes == 0) return;
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                            stream_.native()),
            "copying within the GPU");
}

void CudaDevice::CopyToHost(const void* from, void* to, int64_t bytes) {
  if (bytes == 0) return;
  CudaCheck(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                            stream_.native()),
            "copying from the GPU");
  stream_.Synchronize();
}

void CudaDevice::CopyRowsToHost(const void* from, int64_t from_stride, void* to, int64_t to_stride,
                                int64_t row_bytes, int64_t rows) {
  if (row_bytes == 0 || rows == 0) return;
  CudaCheck(cudaMemcpy2DAsync(to, static_cast<size_t>(to_stride), from,
                              static_cast<size_t>(from_stride), static_cast<size_t>(row_bytes),
                              static_cast<size_t>(rows), cudaMemcpyDeviceToHost, stream_.native()),
            "copying rows from the GPU");
  stream_.Synchronize();
}

int64_t CudaDevice::used_bytes() const {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  CudaCheck(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for the GPU's free memory");
  return static_cast<int64_t>(total_bytes - free_bytes);
}

}  // namespace kvfold
