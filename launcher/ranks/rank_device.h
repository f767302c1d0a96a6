// launcher/ranks/rank_device.h: a rank's device, and the communicator of data that lies on it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "comm/device/device.h"
#include "launcher/device_choice.h"
#include "launcher/options/groups.h"
#include "launcher/ranks/async_watch.h"
#include "launcher/ranks/rank_group.h"
#include "runtime/kernels/kernels.h"

namespace kvfold {

class RankDevice {
 public:
  // All ranks together. Throws AgreedError on all where one rank's device or their transport cannot
  // be had as the options ask.
  RankDevice(RankGroup& group, const DeviceOptions& device, const RankOptions& ranks,
             int n_threads);
  ~RankDevice();

  DeviceKind kind() const { return kind_; }
  Device& device() { return *device_; }
  // The group's own for ranks on CPUs and for pretended ones.
  Communicator& communicator() { return *communicator_; }
  // How it moves data, as Communicator::transport().
  const std::string& transport() const { return transport_; }
  // "cpu", "NVIDIA H100 80GB HBM3 (GPU-6e2d...)".
  const std::string& description() const { return description_; }
  std::unique_ptr<Kernels> MakeKernels(DType activation_dtype);

  // What the device has in use beside this process's buffers; 0 for a CPU.
  int64_t measured_reserved_bytes() const;
  // The most bytes of this rank's GPU that were in use, by all who share it, at any moment at which
  // this was called; 0 for a CPU.
  int64_t device_peak_bytes();

 private:
  void MakeTransport(RankGroup& group, std::optional<Transport> asked, bool shares_gpus);

  DeviceKind kind_ = DeviceKind::kCpu;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> owned_;  // goes before the device
  Communicator* communicator_;
  std::unique_ptr<AsyncWatch> watch_;  // of collectives under way; goes first
  std::string description_ = "cpu";
  std::string transport_;
  int64_t device_peak_bytes_ = 0;
};

}  // namespace kvfold
