#include "models/quoted.h"

#include <fmt/format.h>

namespace kvfold {

std::string Quoted(std::string_view text) {
  constexpr size_t kMostBytes = 80;
  if (text.size() <= kMostBytes) return fmt::format("{:?}", text);
  size_t kept = kMostBytes;
  while (kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xC0) == 0x80) --kept;
  return fmt::format("{:?}...", text.substr(0, kept));
}

}  // namespace kvfold
