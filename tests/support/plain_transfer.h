// tests/support/plain_transfer.h: the copies of a staged communicator on a device whose memory is
// the host's.
#pragma once

#include <cstring>
#include <vector>

#include "comm/device/device_transfer.h"

namespace kvfold {

class PlainTransfer : public DeviceTransfer {
 public:
  explicit PlainTransfer(int64_t staging_bytes) : staging_(static_cast<size_t>(staging_bytes)) {}
  std::span<std::byte> staging() override { return staging_; }
  void StartToHost(const void* from, std::byte* to, int64_t bytes, Stream&) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void AwaitToHost() override {}
  void ToDevice(const std::byte* from, void* to, int64_t bytes, Stream&) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void Within(const void* from, void* to, int64_t bytes, Stream&) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }

 private:
  std::vector<std::byte> staging_;
};

}  // namespace kvfold
