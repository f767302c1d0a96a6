#include "runtime/jobs/request_hash.h"

#include <fmt/format.h>

#include <cstdint>

namespace kvfold {
namespace {

// FNV-1a over 64 bits from a start of its own; two of them make 128. It tells apart what differs by
// accident, not by intent.
uint64_t Fnv(uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace

std::string RequestHash(std::initializer_list<std::string_view> parts) {
  uint64_t low = 0xcbf29ce484222325ull;
  uint64_t high = 0x6c62272e07bb0142ull;
  for (const std::string_view part : parts) {
    const std::string length = fmt::format("{}:", part.size());
    low = Fnv(Fnv(low, length), part);
    high = Fnv(Fnv(high ^ low, length), part);
  }
  return fmt::format("{:016x}{:016x}", high, low);
}

}  // namespace kvfold
