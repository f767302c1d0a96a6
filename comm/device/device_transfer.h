// comm/device/device_transfer.h: bytes between a device's memory and the host's, for a communicator
// that moves its data through the host.
#pragma once

#include <cstdint>
#include <span>

#include "comm/device/device.h"

namespace kvfold {

class DeviceTransfer {
 public:
  virtual ~DeviceTransfer() = default;
  // Host memory that both directions use: page-locked where the device wants it.
  virtual std::span<std::byte> staging() = 0;
  // Starts copying, after all work issued on `stream` so far; Await returns when `to` holds the
  // bytes. `to` and `from` of the host lie in staging().
  virtual void StartToHost(const void* from, std::byte* to, int64_t bytes, Stream& stream) = 0;
  virtual void AwaitToHost() = 0;  // of all that was started
  // Work issued on `stream` afterwards sees the bytes; `from` is read until the next AwaitToHost
  // of a copy started after this one.
  virtual void ToDevice(const std::byte* from, void* to, int64_t bytes, Stream& stream) = 0;
  // From one place of the device to another that does not overlap it, in stream order.
  virtual void Within(const void* from, void* to, int64_t bytes, Stream& stream) = 0;
};

}  // namespace kvfold
