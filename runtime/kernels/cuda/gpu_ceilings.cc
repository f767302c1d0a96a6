#include <algorithm>
#include <utility>
#include <vector>

#include "comm/base/median.h"
#include "comm/device/cuda/cuda_check.h"
#include "runtime/kernels/cuda/gpu_executor.h"

namespace kvfold::cuda {
namespace {

constexpr int kRounds = 5;
constexpr int64_t kCopyBytes = int64_t{256} << 20;  // more than any cache
constexpr int64_t kLargeProduct = 8192;

// Device time of `repeats` calls, by events; the median of several rounds, after one that is not
// counted. Throws DeviceError.
template <typename Call>
double SecondsOf(CudaDevice& device, int repeats, Call&& call) {
  const cudaStream_t stream = device.stream().native();
  cudaEvent_t begin = nullptr, end = nullptr;
  CudaCheck(cudaEventCreate(&begin), "an event");
  CudaCheck(cudaEventCreate(&end), "an event");
  std::vector<double> rounds;
  for (int round = 0; round <= kRounds; ++round) {
    CudaCheck(cudaEventRecord(begin, stream), "an event");
    for (int i = 0; i < repeats; ++i) call();
    CudaCheck(cudaEventRecord(end, stream), "an event");
    CudaCheck(cudaEventSynchronize(end), "measuring ceilings");
    float ms = 0.0f;
    CudaCheck(cudaEventElapsedTime(&ms, begin, end), "an event");
    if (round > 0) rounds.push_back(static_cast<double>(ms) / 1000.0 / repeats);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return Median(std::move(rounds));
}

// Numbers of size 1 that are neither zeros nor all alike: zeros run faster than real data.
void FillWithNumbers(CudaDevice& device, const Buffer& buffer, DType dtype) {
  std::vector<std::byte> numbers(size_t{1} << 20);
  uint32_t state = 1;
  const auto next = [&state] {
    state = state * 1664525u + 1013904223u;
    return state >> 9;
  };
  if (dtype == DType::kBF16) {
    auto* const to = reinterpret_cast<uint16_t*>(numbers.data());
    for (size_t i = 0; i < numbers.size() / 2; ++i) {
      to[i] = static_cast<uint16_t>(0x3f00u | (next() & 0x80ffu));
    }
  } else {
    auto* const to = reinterpret_cast<uint32_t*>(numbers.data());
    for (size_t i = 0; i < numbers.size() / 4; ++i) to[i] = 0x3f000000u | (next() & 0x7fffffu);
  }
  const auto piece = static_cast<int64_t>(numbers.size());
  for (int64_t at = 0; at < buffer.bytes(); at += piece) {
    device.Upload(numbers.data(), buffer.data() + at, std::min(piece, buffer.bytes() - at));
  }
}

double ProductRate(CudaDevice& device, Executor& executor, LinearShape shape, int64_t rows,
                   DType dtype) {
  const int64_t bytes = DTypeBytes(dtype);
  const Buffer x = device.Allocate(rows * shape.n_in * bytes);
  const Buffer weight = device.Allocate(shape.n_out * shape.n_in * bytes);
  const Buffer y = device.Allocate(rows * shape.n_out * bytes);
  FillWithNumbers(device, x, dtype);
  FillWithNumbers(device, weight, dtype);
  ProductArgs args;
  args.x = x.data();
  args.weight = weight.data();
  args.y = y.data();
  args.x_stride = shape.n_in;
  args.y_stride = shape.n_out;
  args.rows = rows;
  args.shape = shape;
  args.dtype = args.y_dtype = dtype;
  const double flop = 2.0 * static_cast<double>(rows) * static_cast<double>(shape.n_out) *
                      static_cast<double>(shape.n_in);
  const int repeats = static_cast<int>(std::clamp(2e12 / flop, 1.0, 50.0));
  const double seconds = SecondsOf(device, repeats, [&] { executor.Product(args); });
  device.stream().Synchronize();
  return flop / seconds;
}

}  // namespace

Ceilings MeasureGpuCeilings(CudaDevice& device, Executor& executor,
                            std::span<const LinearShape> shapes, int64_t rows, DType dtype) {
  Ceilings ceilings;
  for (const LinearShape& shape : shapes) {
    if (shape.n_out == 0 || shape.n_in == 0) continue;
    ceilings.product_flop_per_s =
        std::max(ceilings.product_flop_per_s, ProductRate(device, executor, shape, rows, dtype));
  }
  if (dtype == DType::kBF16) {
    ceilings.product_flop_per_s = std::max(
        ceilings.product_flop_per_s,
        ProductRate(device, executor, {kLargeProduct, kLargeProduct}, kLargeProduct, dtype));
  }
  const Buffer from = device.Allocate(kCopyBytes);
  const Buffer to = device.Allocate(kCopyBytes);
  const double seconds = SecondsOf(device, 4, [&] {
    CudaCheck(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(kCopyBytes),
                              cudaMemcpyDeviceToDevice, device.stream().native()),
              "copying within the device");
  });
  ceilings.copy_bytes_per_s = 2.0 * static_cast<double>(kCopyBytes) / seconds;
  return ceilings;
}

}  // namespace kvfold::cuda
