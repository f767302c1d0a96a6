#include "comm/device/device.h"

#include <cstring>

namespace kvfold {

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

void Device::CopyWithin(const void* from, void* to, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Device::CopyToHost(const void* from, void* to, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace kvfold
