#include "models/quoted.h"

#include <fmt/format.h>

#include <iterator>

#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

// Characters that would move the cursor, hide, or turn the text around them.
bool IsShown(char32_t c) {
  const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  const bool layout = c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
                      (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB);
  return !control && !layout;
}

// fmt's own {:?} is not for this: of some texts that are no UTF-8 it takes a negative length.
std::string Escaped(std::string_view text) {
  std::string out;
  size_t valid = FindInvalidUtf8(text);
  for (size_t at = 0; at < text.size();) {
    if (at == valid) {
      fmt::format_to(std::back_inserter(out), "\\x{{{:x}}}", static_cast<uint8_t>(text[at]));
      ++at;
      valid = FindInvalidUtf8(text.substr(at));
      if (valid != std::string_view::npos) valid += at;
      continue;
    }
    const size_t begin = at;
    const char32_t c = NextCodePoint(text, at);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '"' || c == '\\') {
      out += {'\\', static_cast<char>(c)};
    } else if (IsShown(c)) {
      out += text.substr(begin, at - begin);
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<uint32_t>(c));
    }
  }
  return out;
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kMostBytes = 80;
  if (text.size() <= kMostBytes) return fmt::format("\"{}\"", Escaped(text));
  size_t kept = kMostBytes;
  while (kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xC0) == 0x80) --kept;
  return fmt::format("\"{}\"...", Escaped(text.substr(0, kept)));
}

}  // namespace kvfold
