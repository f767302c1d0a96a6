#include "launcher/ranks/rank_device.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "comm/cuda/cuda_backend.h"
#include "comm/device/cpu_device.h"
#include "comm/device/host_limits.h"
#include "comm/gather_values.h"
#include "comm/heartbeat/addresses.h"
#include "launcher/ranks/agreement.h"
#include "runtime/kernels/cpu/cpu_kernels.h"
#include "runtime/kernels/cpu/isa.h"
#include "runtime/kernels/cuda/gpu_kernels.h"

namespace kvfold {
namespace {

std::unique_ptr<CpuDevice> MakeCpu(const RankGroup& group, int n_threads) {
  // Where the ranks of this host have more threads than it has cores, one that spins keeps another
  // from its work.
  std::optional<std::chrono::microseconds> spin_budget;
  if (n_threads * group.host_size() > AvailableCores()) spin_budget = std::chrono::microseconds(0);
  return std::make_unique<CpuDevice>(n_threads, spin_budget);
}

}  // namespace

RankDevice::RankDevice(RankGroup& group, const DeviceOptions& device, const RankOptions& ranks,
                       int n_threads)
    : communicator_(&group.communicator()), transport_(communicator_->transport()) {
  Communicator& hosts = group.communicator();
  CudaGpu gpu;
  RunTogether(hosts, [&] {
    // A CPU that was asked for is not kept waiting by a driver.
    CudaProbe probe;
    if (device.device != DeviceKind::kCpu) probe = ProbeCuda();
    kind_ = ChooseDeviceKind(device.device, probe);
    if (kind_ == DeviceKind::kCuda) gpu = ChooseGpu(probe.gpus, group.host_rank());
  });
  AgreeOn(hosts, "the device", kind_ == DeviceKind::kCuda ? "cuda" : "cpu");
  if (kind_ == DeviceKind::kCpu) {
    RunTogether(hosts, [&] {
      if (ranks.transport) {
        throw InputError(fmt::format("--transport {} is for ranks on GPUs, this runs on the CPU",
                                     TransportName(*ranks.transport)));
      }
      if (ranks.share_devices)
        throw InputError("--share-devices is for ranks on GPUs, this runs on the CPU");
      device_ = MakeCpu(group, n_threads);
    });
    return;
  }
  // No rank takes a GPU before all may have theirs.
  int ranks_per_gpu = 1;
  if (!group.pretended()) {
    const std::vector<RankPlace> places = GatherValues(hosts, MakeRankPlace(HostName(), gpu));
    RunForFirst(hosts, [&] { ranks_per_gpu = RanksPerGpu(places, ranks.share_devices); });
  }
  RunTogether(hosts, [&] { device_ = MakeCudaDevice(gpu.ordinal, n_threads); });
  description_ = fmt::format("{} ({})", gpu.name, gpu.uuid);
  group.NameDevice(fmt::format("cuda {} {}", gpu.ordinal, gpu.name));
  if (!group.pretended()) MakeTransport(group, ranks.transport, ranks_per_gpu > 1);
}

void RankDevice::MakeTransport(RankGroup& group, std::optional<Transport> asked, bool shares_gpus) {
  Communicator& hosts = group.communicator();
  Transport transport = Transport::kLocal;
  CudaLibraryInfo nccl;
  RunTogether(hosts, [&] {
    // Opened only where it may be used: it takes a second.
    if (asked != Transport::kStaged && (hosts.size() > 1 || asked == Transport::kNccl)) {
      nccl = FindNccl();
    }
    transport = ChooseTransport(asked, hosts.size(), shares_gpus, nccl);
  });
  AgreeOn(hosts, "the transport",
          transport == Transport::kNccl ? "NCCL " + nccl.version : std::string("no NCCL"));
  RunTogether(hosts, [&] {
    owned_ = transport == Transport::kNccl ? MakeCudaNcclCommunicator(hosts, shares_gpus)
                                           : MakeCudaStagedCommunicator(hosts);
  });
  communicator_ = owned_.get();
  transport_ = communicator_->transport();
  // The rank's own thread may be waiting for the GPU, which waits for a rank that has gone.
  if (hosts.size() > 1) {
    watch_ = std::make_unique<AsyncWatch>(
        [this] { return communicator_->PollAsyncError(); },
        [&group](const std::string& problem) { group.EndAll(CommError(problem)); });
  }
  if (hosts.rank() == 0) {
    spdlog::info("device data moves by {}{}", transport_, shares_gpus ? "; ranks share GPUs" : "");
  }
}

RankDevice::~RankDevice() = default;

std::unique_ptr<Kernels> RankDevice::MakeKernels(DType activation_dtype) {
  if (kind_ == DeviceKind::kCuda) return MakeGpuKernels(*device_, activation_dtype);
  return MakeCpuKernels(static_cast<CpuDevice&>(*device_), activation_dtype, DetectCpuIsa());
}

int64_t RankDevice::measured_reserved_bytes() const {
  return kind_ == DeviceKind::kCuda ? CudaUsedBytes(*device_) - device_->allocated_bytes() : 0;
}

int64_t RankDevice::device_peak_bytes() {
  if (kind_ == DeviceKind::kCuda) {
    device_peak_bytes_ = std::max(device_peak_bytes_, CudaUsedBytes(*device_));
  }
  return device_peak_bytes_;
}

}  // namespace kvfold
