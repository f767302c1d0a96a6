#include "models/tokenizer/utf8.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "comm/error.h"

namespace kvfold {
namespace {

struct Scan {
  size_t bytes = 0;       // of the well-formed character, or of the maximal subpart
  bool complete = false;  // a whole character
  bool cut_off = false;   // the text ended before the character did
};

// What begins at text[offset].
Scan ScanCharacter(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  size_t length = 0;
  uint8_t low = 0x80, high = 0xBF;  // bounds of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {1, false, false};
  }
  for (size_t i = 1; i < length; ++i) {
    if (offset + i == text.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

// Length of the run of ASCII from `offset`, eight bytes at a time.
size_t AsciiRun(std::string_view text, size_t offset) {
  size_t end = offset;
  while (text.size() - end >= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, text.data() + end, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
    end += sizeof(word);
  }
  while (end < text.size() && static_cast<uint8_t>(text[end]) < 0x80) ++end;
  return end - offset;
}

}  // namespace

size_t FindInvalidUtf8(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    offset += AsciiRun(text, offset);
    if (offset == text.size()) break;
    const Scan scan = ScanCharacter(text, offset);
    if (!scan.complete) return offset;
    offset += scan.bytes;
  }
  return std::string_view::npos;
}

std::string_view OtherUnicode(std::string_view text) {
  using namespace std::string_view_literals;
  constexpr std::string_view kLittle16 = "UTF-16 (little endian, as PowerShell writes it)";
  constexpr std::string_view kBig16 = "UTF-16 (big endian)";
  constexpr std::string_view kLittle32 = "UTF-32 (little endian)";
  constexpr std::string_view kBig32 = "UTF-32 (big endian)";
  // UTF-32's mark before UTF-16's, which it begins with.
  if (text.starts_with("\xFF\xFE\0\0"sv)) return kLittle32;
  if (text.starts_with("\0\0\xFE\xFF"sv)) return kBig32;
  if (text.starts_with("\xFF\xFE"sv)) return kLittle16;
  if (text.starts_with("\xFE\xFF"sv)) return kBig16;
  // Without a mark: where zero bytes stand, counted by their place in four bytes. Of a text that is
  // mostly of other letters, what is ASCII in it (spaces, punctuation, JSON's own) tells.
  constexpr size_t kLooked = 4096;
  const size_t n_quads = std::min(text.size(), kLooked) / 4;
  if (n_quads == 0) return {};
  std::array<size_t, 4> zeros{};
  for (size_t i = 0; i < 4 * n_quads; ++i) zeros[i % 4] += text[i] == '\0' ? 1 : 0;
  // A letter's low byte may be zero, too, but seldom is.
  const auto seldom = [](size_t few, size_t many) { return 4 * few <= many; };
  if (zeros[3] == n_quads && 2 * zeros[2] >= n_quads && seldom(zeros[0], n_quads)) return kLittle32;
  if (zeros[0] == n_quads && 2 * zeros[1] >= n_quads && seldom(zeros[3], n_quads)) return kBig32;
  // More than a quarter of the characters, and two at least: zeros that end names, as find -print0
  // writes them, are fewer.
  const auto often = [&](size_t n) { return n >= 2 && 4 * n > 2 * n_quads; };
  // In UTF-8 zeros may stand so too, between short names or lines: then most bytes beside them are
  // letters, where UTF-16 is nearly all zeros, or has control characters, or bytes that are no
  // UTF-8.
  const std::string_view looked = text.substr(0, 4 * n_quads);
  const auto controls = static_cast<size_t>(std::ranges::count_if(
      looked, [](char c) { return c > '\0' && c < ' ' && c != '\t' && c != '\n' && c != '\r'; }));
  const size_t invalid = FindInvalidUtf8(looked);
  const bool is_text = invalid == std::string_view::npos || looked.size() - invalid < 4;
  const auto told = [&](size_t n) {
    return 10 * n >= 8 * 2 * n_quads || 10 * controls >= 2 * n_quads || !is_text;
  };
  const size_t even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3];
  if (often(odd) && seldom(even, odd) && told(odd)) return kLittle16;
  if (often(even) && seldom(odd, even) && told(even)) return kBig16;
  return {};
}

void CheckUtf8(std::string_view text, std::string_view where) {
  if (const std::string_view other = OtherUnicode(text); !other.empty()) {
    throw InputError(fmt::format("{} is {}, expected UTF-8", where, other));
  }
  const size_t invalid = FindInvalidUtf8(text);
  if (invalid == std::string_view::npos) return;
  throw InputError(fmt::format("{} is not UTF-8 at byte {}: expected a character, found {:#04x}",
                               where, invalid, static_cast<uint8_t>(text[invalid])));
}

char32_t NextCodePoint(std::string_view text, size_t& offset) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const uint8_t lead = byte(0);
  char32_t code_point = lead;
  size_t length = 1;
  if (lead >= 0xF0) {
    length = 4;
    code_point = lead & 0x07u;
  } else if (lead >= 0xE0) {
    length = 3;
    code_point = lead & 0x0Fu;
  } else if (lead >= 0xC0) {
    length = 2;
    code_point = lead & 0x1Fu;
  }
  for (size_t i = 1; i < length; ++i) code_point = code_point << 6 | (byte(i) & 0x3Fu);
  offset += length;
  return code_point;
}

size_t PreviousCodePoint(std::string_view text, size_t offset) {
  do {
    --offset;
  } while (offset > 0 && (static_cast<uint8_t>(text[offset]) & 0xC0) == 0x80);
  return offset;
}

void AppendUtf8(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

void AppendLossyUtf8(std::string& out, std::string_view bytes) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const size_t invalid = FindInvalidUtf8(bytes.substr(offset));
    out += bytes.substr(offset, invalid);
    if (invalid == std::string_view::npos) return;
    offset += invalid;
    out += "\xEF\xBF\xBD";
    offset += ScanCharacter(bytes, offset).bytes;
  }
}

size_t UnfinishedUtf8Bytes(std::string_view bytes) {
  for (size_t back = 1; back <= std::min<size_t>(3, bytes.size()); ++back) {
    const size_t offset = bytes.size() - back;
    if ((static_cast<uint8_t>(bytes[offset]) & 0xC0) == 0x80) continue;
    const Scan scan = ScanCharacter(bytes, offset);
    return scan.cut_off && scan.bytes == back ? back : 0;
  }
  return 0;
}

}  // namespace kvfold
