// models/checkpoint/fingerprint.h: a hash that tells one checkpoint from another, without reading
// all of it. It guards against mistakes, not against malice.
#pragma once

#include <cstdint>
#include <span>

#include "models/checkpoint/mapped_file.h"

namespace kvfold {

class FingerprintHash {
 public:
  void AddNumber(uint64_t number);
  void AddBytes(std::span<const uint8_t> bytes);  // and how many they are
  // Name without folder, size, the head, and of the rest the first and last 4 KiB of each of 64
  // equal parts (all of it where it is no longer than that).
  void AddFile(const MappedFile& file, uint64_t head_bytes);
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325u;
};

}  // namespace kvfold
