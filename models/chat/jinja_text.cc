#include "models/chat/jinja_text.h"

#include <fmt/format.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {
namespace {

template <typename Strips>
std::string_view StripLeft(std::string_view text, Strips&& strips) {
  while (!text.empty()) {
    size_t end = 0;
    if (!strips(NextCodePoint(text, end))) break;
    text.remove_prefix(end);
  }
  return text;
}

template <typename Strips>
std::string_view StripRight(std::string_view text, Strips&& strips) {
  while (!text.empty()) {
    const size_t begin = PreviousCodePoint(text, text.size());
    size_t end = begin;
    if (!strips(NextCodePoint(text, end))) break;
    text = text.substr(0, begin);
  }
  return text;
}

auto Among(std::string_view characters) {
  return [characters](char32_t c) {
    for (size_t i = 0; i < characters.size();) {
      if (NextCodePoint(characters, i) == c) return true;
    }
    return false;
  };
}

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsLetter(char c) { return IsUpper(c) || IsLower(c); }
char ToUpper(char c) { return IsLower(c) ? static_cast<char>(c - 'a' + 'A') : c; }
char ToLower(char c) { return IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c; }

bool EndsLine(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

// Python's str.isprintable of one character.
bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  for (const YoungRange& range : YoungRanges()) {
    if (c >= range.first && c <= range.last) return true;
  }
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_SURROGATE:
    case U_PRIVATE_USE_CHAR:
    case U_UNASSIGNED:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
    case U_SPACE_SEPARATOR:
      return false;
    default:
      return true;
  }
}

}  // namespace

bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

std::string_view LeftStripped(std::string_view text) { return StripLeft(text, IsPythonSpace); }
std::string_view RightStripped(std::string_view text) { return StripRight(text, IsPythonSpace); }
std::string_view Stripped(std::string_view text) { return LeftStripped(RightStripped(text)); }
std::string_view LeftStripped(std::string_view text, std::string_view characters) {
  return StripLeft(text, Among(characters));
}
std::string_view RightStripped(std::string_view text, std::string_view characters) {
  return StripRight(text, Among(characters));
}

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

int64_t CountCharacters(std::string_view text) {
  return std::ranges::count_if(text,
                               [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

size_t ByteOfCharacter(std::string_view text, int64_t n) {
  size_t at = 0;
  for (; n > 0 && at < text.size(); --n) NextCodePoint(text, at);
  return at;
}

std::string Upper(std::string_view text) {
  std::string out;
  if (IsAscii(text)) {
    std::ranges::transform(text, std::back_inserter(out), ToUpper);
    return out;
  }
  auto wide = icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  wide.toUpper(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

std::string Lower(std::string_view text) {
  std::string out;
  if (IsAscii(text)) {
    std::ranges::transform(text, std::back_inserter(out), ToLower);
    return out;
  }
  auto wide = icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  wide.toLower(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

std::string Capitalized(std::string_view text) {
  std::string out = Lower(text);
  if (!out.empty()) out[0] = ToUpper(out[0]);
  return out;
}

std::string Titled(std::string_view text) {
  std::string out(text);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = i > 0 && IsLetter(out[i - 1]) ? ToLower(out[i]) : ToUpper(out[i]);
  return out;
}

std::string TitleFiltered(std::string_view text) {
  constexpr std::string_view kBeforeWord = "-({[<";
  std::string out(text);
  bool word_begins = true;
  for (char& c : out) {
    c = word_begins ? ToUpper(c) : ToLower(c);
    word_begins =
        kBeforeWord.find(c) != std::string_view::npos || IsPythonSpace(static_cast<uint8_t>(c));
  }
  return out;
}

std::vector<std::string_view> Split(std::string_view text, std::string_view separator,
                                    int64_t most) {
  std::vector<std::string_view> parts;
  const auto may_cut = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (!separator.empty()) {
    while (may_cut()) {
      const size_t at = text.find(separator);
      if (at == std::string_view::npos) break;
      parts.push_back(text.substr(0, at));
      text.remove_prefix(at + separator.size());
    }
    parts.push_back(text);
    return parts;
  }
  text = LeftStripped(text);
  while (!text.empty()) {
    if (!may_cut()) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    for (size_t next = 0; end < text.size(); end = next) {
      if (IsPythonSpace(NextCodePoint(text, next))) break;
    }
    parts.push_back(text.substr(0, end));
    text = LeftStripped(text.substr(end));
  }
  return parts;
}

std::vector<std::string_view> RightSplit(std::string_view text, std::string_view separator,
                                         int64_t most) {
  std::vector<std::string_view> parts;
  const auto may_cut = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (!separator.empty()) {
    while (may_cut()) {
      const size_t at = text.rfind(separator);
      if (at == std::string_view::npos) break;
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
  } else {
    text = RightStripped(text);
    while (!text.empty()) {
      if (!may_cut()) {
        parts.push_back(text);
        break;
      }
      size_t begin = text.size();
      while (begin > 0) {
        const size_t before = PreviousCodePoint(text, begin);
        size_t behind = before;
        if (IsPythonSpace(NextCodePoint(text, behind))) break;
        begin = before;
      }
      parts.push_back(text.substr(begin));
      text = RightStripped(text.substr(0, begin));
    }
  }
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0, at = 0; begin < text.size();) {
    size_t end = at;
    for (size_t next = at; end < text.size(); end = next) {
      if (EndsLine(NextCodePoint(text, next))) {
        at = next;
        break;
      }
    }
    if (end == text.size()) at = end;
    if (text.substr(end).starts_with("\r\n")) at = end + 2;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  return lines;
}

std::string Replaced(std::string_view text, std::string_view old, std::string_view by,
                     int64_t most) {
  std::string out;
  if (old.empty()) {  // between all characters, and at both ends
    size_t at = 0;
    for (int64_t n = 0; most < 0 || n < most; ++n) {
      out += by;
      if (at == text.size()) return out;
      const size_t begin = at;
      NextCodePoint(text, at);
      out += text.substr(begin, at - begin);
    }
    return out.append(text.substr(at));
  }
  for (int64_t n = 0; most < 0 || n < most; ++n) {
    const size_t at = text.find(old);
    if (at == std::string_view::npos) break;
    out.append(text.substr(0, at)).append(by);
    text.remove_prefix(at + old.size());
  }
  return out.append(text);
}

int64_t Count(std::string_view text, std::string_view wanted) {
  int64_t n = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + wanted.size())) {
    ++n;
  }
  return n;
}

std::string Repr(std::string_view text) {
  const bool doubles =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubles ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const char32_t c = NextCodePoint(text, i);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.append(1, '\\').append(1, static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c)) {
      out += text.substr(begin, i - begin);
    } else if (c <= 0xFF) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else {
      out += c <= 0xFFFF ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c))
                         : fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  return out + quote;
}

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  const double size = std::abs(number);
  const bool scientific = size != 0.0 && (size < 1e-4 || size >= 1e16);
  std::array<char, 64> digits{};
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), number,
                    scientific ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(digits.data(), end.ptr);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace kvfold::jinja
