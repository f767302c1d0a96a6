#include "models/quoted.h"

#include <fmt/format.h>
#include <unicode/uchar.h>

#include <iterator>

#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

// Not characters that would move the cursor, hide, or turn the text around them: controls, formats,
// surrogates, private and unassigned ones, and all white space but the plain space.
bool IsShown(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7F;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_C_MASK | U_GC_Z_MASK)) == 0;
}

// fmt's own {:?} is not for this: of some texts that are no UTF-8 it takes a negative length.
std::string Escaped(std::string_view text, bool with_quotes) {
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
    } else if (with_quotes && (c == '"' || c == '\\')) {
      out += {'\\', static_cast<char>(c)};
    } else if (IsShown(c)) {
      out += text.substr(begin, at - begin);
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<uint32_t>(c));
    }
  }
  return out;
}

// Where a text of more than most_bytes is cut: before a character, or, where it is no UTF-8, there.
size_t CutAt(std::string_view text, size_t most_bytes) {
  size_t kept = most_bytes;
  for (int i = 0; i < 3 && kept > 0; ++i) {
    if ((static_cast<unsigned char>(text[kept]) & 0xC0) != 0x80) return kept;
    --kept;
  }
  return (static_cast<unsigned char>(text[kept]) & 0xC0) != 0x80 ? kept : most_bytes;
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kMostBytes = 80;
  if (text.size() <= kMostBytes) return fmt::format("\"{}\"", Escaped(text, true));
  return fmt::format("\"{}\"...", Escaped(text.substr(0, CutAt(text, kMostBytes)), true));
}

std::string Printable(std::string_view text) { return Escaped(text, false); }

std::string CutShort(std::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return std::string(text);
  return fmt::format("{}...", text.substr(0, CutAt(text, most_bytes)));
}

}  // namespace kvfold
