#include "models/checkpoint/fingerprint.h"

#include <cstring>
#include <filesystem>
#include <string>

namespace kvfold {

// FNV-1a over 64-bit words, with the high half folded down so that every input bit reaches every
// output bit.
void FingerprintHash::AddNumber(uint64_t number) {
  state_ = (state_ ^ number) * 0x9E3779B97F4A7C15u;
  state_ ^= state_ >> 32;
}

void FingerprintHash::AddBytes(std::span<const uint8_t> bytes) {
  AddNumber(bytes.size());
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t n = bytes.size() < sizeof(word) ? bytes.size() : sizeof(word);
    std::memcpy(&word, bytes.data(), n);
    AddNumber(word);
    bytes = bytes.subspan(n);
  }
}

void FingerprintHash::AddFile(const MappedFile& file, uint64_t head_bytes) {
  constexpr uint64_t kParts = 64;
  constexpr uint64_t kSampleBytes = 4096;
  const std::string name = std::filesystem::path(file.path()).filename().string();
  AddBytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
  AddNumber(file.size_bytes());
  AddBytes(file.bytes().first(head_bytes));
  const std::span<const uint8_t> rest = file.bytes().subspan(head_bytes);
  if (rest.size() <= kParts * 2 * kSampleBytes) return AddBytes(rest);
  const uint64_t part_bytes = rest.size() / kParts;
  for (uint64_t part = 0; part < kParts; ++part) {
    const uint64_t begin = part * part_bytes;
    const uint64_t end = part + 1 == kParts ? rest.size() : begin + part_bytes;
    AddBytes(rest.subspan(begin, kSampleBytes));
    AddBytes(rest.subspan(end - kSampleBytes, kSampleBytes));
  }
}

}  // namespace kvfold
