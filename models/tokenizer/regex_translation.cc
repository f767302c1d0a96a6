#include "models/tokenizer/regex_translation.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

// General categories that may be asked for. Mn and Mc are not: a character moved from one to the
// other since PCRE2's Unicode.
constexpr std::array<std::string_view, 31> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Co"};
// PCRE2 matches these without regard to case inside (?i:.
constexpr std::array<std::string_view, 3> kCasedCategories = {"Lu", "Ll", "Lt"};

std::string Literal(char32_t c) {
  const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return plain ? std::string(1, static_cast<char>(c))
               : fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(c));
}

std::string Range(char32_t first, char32_t last) {
  return first == last ? Literal(first) : Literal(first) + "-" + Literal(last);
}

// A set as it stands inside a class.
std::string WhiteSpace() {
  std::string set;
  for (const CodePointRange& range : WhiteSpaceRanges()) set += Range(range.first, range.last);
  return set;
}

std::string NotWhiteSpace() {
  std::string set;
  char32_t next = 0;
  for (const CodePointRange& range : WhiteSpaceRanges()) {
    if (range.first > next) set += Range(next, range.first - 1);
    next = range.last + 1;
  }
  return set + Range(next, 0x10FFFF);
}

std::string Category(std::string_view name) {
  std::string set = fmt::format("\\p{{{}}}", name);
  for (const YoungRange& range : YoungRanges()) {
    if (range.category.starts_with(name)) set += Range(range.first, range.last);
  }
  return set;
}

class Translation {
 public:
  Translation(std::string_view pattern, std::string_view where)
      : pattern_(pattern), where_(where) {}

  std::string Run() {
    while (!AtEnd()) Step();
    return std::move(out_);
  }

 private:
  // An escape is one character, or a set as it stands in a class, which may be negated.
  struct Escape {
    std::optional<char32_t> character;
    std::string set;
    bool negated = false;
  };

  bool AtEnd() const { return offset_ == pattern_.size(); }
  bool Next(std::string_view text) const { return pattern_.substr(offset_).starts_with(text); }
  bool Take(std::string_view text) {
    if (!Next(text)) return false;
    offset_ += text.size();
    return true;
  }
  bool IgnoresCase() const { return !groups_.empty() && groups_.back(); }

  [[noreturn]] void Refuse(std::string_view what, size_t at) const {
    throw InputError(
        fmt::format("{}: the regular expression {} has {} at offset {}, which is not supported",
                    where_, Quoted(pattern_), what, at));
  }

  void Step() {
    const size_t at = offset_;
    const char32_t c = NextCodePoint(pattern_, offset_);
    switch (c) {
      case '(':
        OpenGroup(at);
        return;
      case ')':
        if (!groups_.empty()) groups_.pop_back();
        out_ += ')';
        break;
      case '[':
        Class(at);
        break;
      case '|':
        out_ += '|';
        last_folded_ = 0;
        return;
      case '.':
        out_ += "[^\\x{a}]";
        break;
      case '\\': {
        const Escape escape = ReadEscape(at);
        if (escape.character.has_value()) {
          PutLiteral(*escape.character, at);
        } else {
          out_ += fmt::format("[{}{}]", escape.negated ? "^" : "", escape.set);
        }
        break;
      }
      case '^':
      case '$':
        Refuse("a line anchor", at);
      case '?':
      case '*':
      case '+':
      case '{':
        Refuse("a quantifier of nothing, or of a quantifier,", at);
      default:
        PutLiteral(c, at);
    }
    Quantifier();
  }

  void OpenGroup(size_t at) {
    bool ignores_case = IgnoresCase();
    if (!Next("?")) {
      out_ += "(?:";  // what is captured is never asked for
    } else {
      bool known = false;
      for (const std::string_view kind : {"?:", "?>", "?=", "?!", "?<=", "?<!", "?i:"}) {
        if (!Take(kind)) continue;
        out_ += '(';
        out_ += kind;
        ignores_case = ignores_case || kind == "?i:";
        known = true;
        break;
      }
      if (!known) Refuse("the group " + Quoted(pattern_.substr(at, 4)), at);
    }
    if (groups_.size() == 200) Refuse("groups nested deeper than 200", at);
    groups_.push_back(ignores_case);
  }

  // Oniguruma lets one character match several in (?i: ("ß" and "ss"), PCRE2 does not.
  void PutLiteral(char32_t c, size_t at) {
    if (IgnoresCase()) {
      if (c >= 0x80) Refuse("a character beyond ASCII inside (?i:", at);
      const char folded = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
      const std::string pair = {last_folded_, folded};
      for (const std::string_view several : {"ff", "fi", "fl", "ss", "st"}) {
        if (pair == several) Refuse(Quoted(pair) + " inside (?i:", at);
      }
      last_folded_ = folded;
    }
    out_ += Literal(c);
  }

  Escape ReadEscape(size_t at) {
    if (AtEnd()) Refuse("a backslash at its end", at);
    const char32_t c = NextCodePoint(pattern_, offset_);
    switch (c) {
      case 'r':
        return {U'\r', {}, false};
      case 'n':
        return {U'\n', {}, false};
      case 't':
        return {U'\t', {}, false};
      case 'f':
        return {U'\f', {}, false};
      case 'v':
        return {U'\v', {}, false};
      case 'x':
        return {Hexadecimal(at), {}, false};
      case 's':
        return {std::nullopt, WhiteSpace(), false};
      case 'S':
        return {std::nullopt, WhiteSpace(), true};
      case 'd':
        return {std::nullopt, Category("Nd"), false};
      case 'D':
        return {std::nullopt, Category("Nd"), true};
      case 'p':
      case 'P':
        return Property(c == 'P', at);
      default:
        break;
    }
    const bool punctuation = c > ' ' && c < 0x7F && !(c >= '0' && c <= '9') &&
                             !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
    if (!punctuation && c != ' ') Refuse(Quoted(pattern_.substr(at, offset_ - at)), at);
    return {c, {}, false};
  }

  char32_t Hexadecimal(size_t at) {
    char32_t value = 0;
    int digits = 0;
    while (digits < 2 && !AtEnd()) {
      const char c = pattern_[offset_];
      const bool digit = c >= '0' && c <= '9';
      const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!digit && !letter) break;
      value = value * 16 + static_cast<char32_t>(digit ? c - '0' : (c | 0x20) - 'a' + 10);
      ++offset_;
      ++digits;
    }
    // Beyond 7F Oniguruma takes \xHH as a raw byte.
    if (digits == 0 || value >= 0x80) Refuse("an \\x that is not \\x00 to \\x7F", at);
    return value;
  }

  Escape Property(bool negated, size_t at) {
    const size_t end = pattern_.find('}', offset_);
    if (!Next("{") || end == std::string_view::npos) Refuse("a \\p without {name}", at);
    std::string_view name = pattern_.substr(offset_ + 1, end - offset_ - 1);
    offset_ = end + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const auto in = [name](const auto& names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (!in(kCategories)) Refuse("the property " + Quoted(name), at);
    if (IgnoresCase() && in(kCasedCategories))
      Refuse("\\p{" + std::string(name) + "} inside (?i:", at);
    return {std::nullopt, Category(name), negated};
  }

  void Class(size_t at) {
    std::string body;
    const bool negated = Take("^");
    bool empty = true;
    while (!AtEnd() && !(Next("]") && !empty)) {
      empty = false;
      const std::optional<char32_t> first = ClassItem(body, at);
      if (!Next("-") || pattern_.substr(offset_).starts_with("-]")) {
        if (first.has_value()) body += Literal(*first);
        continue;
      }
      const size_t dash = offset_++;
      const std::optional<char32_t> last =
          first.has_value() && !AtEnd() ? ClassItem(body, at) : std::nullopt;
      if (!first.has_value() || !last.has_value() || *last < *first) {
        Refuse("a '-' that makes no range of two characters", dash);
      }
      body += Range(*first, *last);
    }
    if (!Take("]")) Refuse("a class that does not end", at);
    if (IgnoresCase()) {
      const bool ascii = std::all_of(body.begin(), body.end(), [](char c) { return c != '\\'; });
      if (!ascii) Refuse("a class of more than ASCII letters and digits inside (?i:", at);
      last_folded_ = 0;
    }
    out_ += fmt::format("[{}{}]", negated ? "^" : "", body);
  }

  // One character of a class, or nullopt where a set was appended to `body`.
  std::optional<char32_t> ClassItem(std::string& body, size_t class_at) {
    const size_t at = offset_;
    if (Next("[")) Refuse("'[' inside a class", at);
    if (Next("&&")) Refuse("'&&' inside a class", at);
    if (Next("]")) Refuse("an empty class", class_at);
    const char32_t c = NextCodePoint(pattern_, offset_);
    if (c != '\\') return c;
    const Escape escape = ReadEscape(at);
    if (escape.character.has_value()) return escape.character;
    if (!escape.negated) {
      body += escape.set;
    } else if (escape.set == WhiteSpace()) {
      body += NotWhiteSpace();
    } else {
      Refuse("a negated property inside a class", at);
    }
    return std::nullopt;
  }

  // After what may be repeated.
  void Quantifier() {
    if (AtEnd()) return;
    const size_t at = offset_;
    const char c = pattern_[offset_];
    if (c == '?' || c == '*' || c == '+') {
      last_folded_ = 0;
      ++offset_;
      out_ += c;
      if (Take("?")) {
        out_ += '?';
      } else if (Take("+")) {
        out_ += '+';
      }
    } else if (c == '{') {
      last_folded_ = 0;
      const size_t end = pattern_.find('}', offset_);
      const std::string_view body =
          end == std::string_view::npos ? "" : pattern_.substr(offset_ + 1, end - offset_ - 1);
      const size_t digits = std::min(body.find_first_not_of("0123456789"), body.size());
      const std::string_view rest = body.substr(digits);
      const bool counted =
          digits > 0 && digits <= 4 &&
          (rest.empty() || (rest[0] == ',' && rest.size() <= 5 &&
                            rest.find_first_not_of("0123456789", 1) == std::string_view::npos));
      if (!counted) Refuse("a '{' that is no {n}, {n,} or {n,m}", at);
      out_ += fmt::format("{{{}}}", body);
      offset_ = end + 1;
      // Oniguruma reads {n,m}+ as a repeated repetition and {n}? as an option.
      if (Next("?") || Next("+") || Next("*") || Next("{")) Refuse("a suffix to {n,m}", offset_);
    }
  }

  std::string_view pattern_;
  std::string_view where_;
  size_t offset_ = 0;
  std::string out_;
  std::vector<bool> groups_;  // by open group: inside (?i:
  char last_folded_ = 0;      // the literal before this one inside (?i:, in lower case
};

}  // namespace

std::string TranslateRegex(std::string_view pattern, std::string_view where) {
  return Translation(pattern, where).Run();
}

std::string QuoteRegex(std::string_view text) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) out += Literal(NextCodePoint(text, offset));
  return out;
}

}  // namespace kvfold
