#include "comm/device/device.h"

#include <chrono>
#include <cstring>
#include <vector>

namespace kvfold {
namespace {

class HostClock : public StreamClock {
 public:
  explicit HostClock(int64_t n_moments) : moments_(static_cast<size_t>(n_moments)) {}
  void Mark(int64_t moment) override { moments_.at(static_cast<size_t>(moment)) = Clock::now(); }
  double Seconds(int64_t from, int64_t to) override {
    return std::chrono::duration<double>(moments_.at(static_cast<size_t>(to)) -
                                         moments_.at(static_cast<size_t>(from)))
        .count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Clock::time_point> moments_;
};

}  // namespace

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    if (deleter_) deleter_(data_, bytes_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    deleter_ = std::exchange(other.deleter_, nullptr);
  }
  return *this;
}

Buffer::~Buffer() {
  if (deleter_) deleter_(data_, bytes_);
}

std::unique_ptr<StreamClock> Stream::MakeClock(int64_t n_moments) {
  return std::make_unique<HostClock>(n_moments);
}

void Device::CopyWithin(const void* from, void* to, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Device::CopyRowsToHost(const void* from, int64_t from_stride, void* to, int64_t to_stride,
                            int64_t row_bytes, int64_t rows) {
  if (row_bytes == 0) return;
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(static_cast<std::byte*>(to) + row * to_stride,
                static_cast<const std::byte*>(from) + row * from_stride,
                static_cast<size_t>(row_bytes));
  }
}

}  // namespace kvfold
