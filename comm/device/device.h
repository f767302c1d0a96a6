// comm/device/device.h: where memory lives and in which order work on it happens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace kvfold {

// The one owner of a device allocation. Move-only; freed with the buffer. Contents start as zeros.
class Buffer {
 public:
  using Deleter = std::function<void(void* data, int64_t bytes)>;

  Buffer() = default;
  Buffer(void* data, int64_t bytes, Deleter deleter)
      : data_(data), bytes_(bytes), deleter_(std::move(deleter)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
  Deleter deleter_;
};

// Moments in the order of a stream's work, to measure what lies between two of them. There is room
// for a fixed number, made with it: marking allocates nothing and waits for nothing.
class StreamClock {
 public:
  virtual ~StreamClock() = default;
  // The moment is the one at which all work issued so far is done; marked again, it is the later
  // one.
  virtual void Mark(int64_t moment) = 0;
  // From one marked moment to another marked after it. Waits until the stream has passed both.
  virtual double Seconds(int64_t from, int64_t to) = 0;
};

// An order of work on one device. On the CPU work is done when a call returns, so a CPU stream is
// empty.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void Synchronize() = 0;  // returns when all work issued so far is done
  // With moments [0, n_moments). It reads the host's clock, which is right where work is done when
  // its call returns, unless a stream whose work comes later says otherwise. The stream outlives
  // it.
  virtual std::unique_ptr<StreamClock> MakeClock(int64_t n_moments);
};

// Its copies are plain ones unless a device whose memory the host cannot read says otherwise.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  // Memory aligned to 64 bytes or more, zeroed. Throws CapacityError with what was asked for. A
  // zero-byte buffer is legal.
  virtual Buffer Allocate(int64_t bytes) = 0;
  virtual Stream& stream() = 0;
  // Bytes of all live buffers of this device, as asked for.
  virtual int64_t allocated_bytes() const = 0;
  // From one place of this device to another that does not overlap it, in stream order.
  virtual void CopyWithin(const void* from, void* to, int64_t bytes);
  // Rows of row_bytes whose starts lie from_stride and to_stride bytes apart, in stream order;
  // returns when the host has them.
  virtual void CopyRowsToHost(const void* from, int64_t from_stride, void* to, int64_t to_stride,
                              int64_t row_bytes, int64_t rows);
};

}  // namespace kvfold
