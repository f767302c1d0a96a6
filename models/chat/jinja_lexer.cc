#include "models/chat/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "comm/error.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {
namespace {

// Bytes of the white space that begins at `at`, as Python's \s; 0 where there is none.
size_t SpaceBytes(std::string_view text, size_t at) {
  if (at >= text.size()) return 0;
  size_t end = at;
  return IsPythonSpace(NextCodePoint(text, end)) ? end - at : 0;
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameCharacter(char c) {
  return IsDigit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    if (FindInvalidUtf8(source) != std::string_view::npos) Refuse("text that is not UTF-8");
    for (size_t i = 0; i < source.size(); ++i) {  // all line ends are \n, as Jinja has it
      const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
      if (!pair) source_ += source[i] == '\r' ? '\n' : source[i];
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> Run() {
    while (offset_ < source_.size()) {
      const size_t open = FindDelimiter();
      Text(open);
      if (open == std::string::npos) break;
      Tag();
    }
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view what) const {
    throw InputError(fmt::format("line {} has {}, which is not supported", line_, what));
  }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool Next(std::string_view text) const {
    return std::string_view(source_).substr(offset_).starts_with(text);
  }
  void Advance(size_t to) {
    line_ += std::count(source_.begin() + static_cast<int64_t>(offset_),
                        source_.begin() + static_cast<int64_t>(to), '\n');
    offset_ = to;
  }

  size_t FindDelimiter() const {
    for (size_t i = source_.find('{', offset_); i != std::string::npos;
         i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() &&
          std::string_view("%{#").find(source_[i + 1]) != std::string_view::npos) {
        return i;
      }
    }
    return std::string::npos;
  }

  // The text up to a delimiter, whose sign decides over the white space before it.
  void Text(size_t open) {
    std::string_view text = std::string_view(source_).substr(offset_, open - offset_);
    if (open != std::string::npos) {
      const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
      if (sign == '-') {
        text = text.substr(0, RightStripped(text).size());
      } else if (sign != '+' && source_[open + 1] != '{') {  // lstrip_blocks
        const size_t line = text.rfind('\n') + 1;            // 0 where there is none
        const bool from_line_start = line > 0 || at_line_start_;
        if (from_line_start && RightStripped(text.substr(line)).empty()) {
          text = text.substr(0, line);
        }
      }
    }
    if (!text.empty()) Add(TokenKind::kText, std::string(text));
    Advance(std::min(open, source_.size()));
  }

  void Tag() {
    const char kind = source_[offset_ + 1];
    Advance(offset_ + 2);
    if (Next("-") || Next("+")) Advance(offset_ + 1);
    if (kind == '#') {
      const size_t end = source_.find("#}", offset_);
      if (end == std::string::npos) Refuse("a comment that does not end");
      Advance(end);
      const char sign = source_[end - 1];
      Close("#}", sign);
      return;
    }
    if (kind == '%' && Raw()) return;
    Add(kind == '%' ? TokenKind::kBeginBlock : TokenKind::kBeginPrint, "");
    const std::string_view close = kind == '%' ? "%}" : "}}";
    open_.clear();
    while (true) {
      Advance(SkipSpace(offset_));
      if (offset_ >= source_.size()) Refuse("a tag that does not end");
      // "}}" may close two brackets, and '+' before it is an operator.
      const char sign = Next("-") || (Next("+") && kind == '%') ? source_[offset_] : ' ';
      const size_t signed_bytes = sign == ' ' ? 0 : 1;
      if (open_.empty() &&
          std::string_view(source_).substr(offset_ + signed_bytes).starts_with(close)) {
        Advance(offset_ + signed_bytes);
        Add(kind == '%' ? TokenKind::kEndBlock : TokenKind::kEndPrint, "");
        Close(close, sign);
        return;
      }
      Expression();
    }
  }

  // Behind "{%" and its sign: a raw block, which is text up to its end.
  bool Raw() {
    size_t at = SkipSpace(offset_);
    if (!WordAt(at, "raw")) return false;
    at = SkipSpace(at + 3);
    const bool strips = source_.compare(at, 1, "-") == 0;
    if (source_.compare(at + (strips ? 1 : 0), 2, "%}") != 0) return false;
    at += strips ? 3 : 2;
    if (strips) at = SkipSpace(at);
    Advance(at);
    at_line_start_ = source_[at - 1] == '\n';
    for (size_t open = source_.find("{%", at); open != std::string::npos;
         open = source_.find("{%", open + 1)) {
      size_t end = open + 2;
      if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) ++end;
      end = SkipSpace(end);
      if (!WordAt(end, "endraw")) continue;
      end = SkipSpace(end + 6);
      const char sign = end < source_.size() ? source_[end] : ' ';
      const size_t close = end + (sign == '-' || sign == '+' ? 1 : 0);
      if (source_.compare(close, 2, "%}") != 0) continue;
      Text(open);
      Advance(close);
      Close("%}", sign);
      return true;
    }
    Refuse("a raw block that does not end");
  }
  size_t SkipSpace(size_t at) const {
    at = std::min(at, source_.size());
    while (const size_t bytes = SpaceBytes(source_, at)) at += bytes;
    return at;
  }
  bool WordAt(size_t at, std::string_view word) const {
    return std::string_view(source_).substr(std::min(at, source_.size())).starts_with(word);
  }

  // Behind a closing delimiter: '-' takes all white space, and blocks take a line end (trim_blocks)
  // unless '+'.
  void Close(std::string_view close, char sign) {
    size_t end = offset_ + 2;
    if (sign == '-') {
      end = SkipSpace(end);
    } else if (sign != '+' && close != "}}" && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    Advance(end);
    at_line_start_ = source_[end - 1] == '\n';
  }

  void Expression() {
    const char c = source_[offset_];
    if (c == '\'' || c == '"') return String(c);
    if (IsDigit(c)) return Number();
    if (IsNameCharacter(c)) {
      size_t end = offset_;
      while (end < source_.size() && IsNameCharacter(source_[end])) ++end;
      Add(TokenKind::kName, source_.substr(offset_, end - offset_));
      return Advance(end);
    }
    constexpr std::array<std::string_view, 26> kOperators = {
        "==", "!=", "<=", ">=", "//", "**", "<", ">", "(", ")", "[", "]", "{",
        "}",  ".",  ",",  "|",  "+",  "-",  "~", "*", "/", "%", ":", "=", ";"};
    for (const std::string_view op : kOperators) {
      if (!Next(op)) continue;
      if (op == "(" || op == "[" || op == "{")
        open_ += op[0] == '(' ? ')' : op[0] == '[' ? ']' : '}';
      if (op == ")" || op == "]" || op == "}") {
        if (open_.empty() || open_.back() != op[0]) Refuse(Quoted(op) + " that closes nothing");
        open_.pop_back();
      }
      Add(TokenKind::kOperator, std::string(op));
      return Advance(offset_ + op.size());
    }
    Refuse(Quoted(source_.substr(offset_, 1)));
  }

  // Decimal numbers; "_" between digits. An integer behind a '.' is an index: a.0.1 has two.
  void Number() {
    size_t end = offset_;
    const auto digits = [&] {
      const size_t begin = end;
      while (end < source_.size() &&
             (IsDigit(source_[end]) || (source_[end] == '_' && end > begin &&
                                        end + 1 < source_.size() && IsDigit(source_[end + 1])))) {
        ++end;
      }
      return end > begin;
    };
    digits();
    const bool is_index = offset_ > 0 && source_[offset_ - 1] == '.';
    bool is_float = false;
    if (!is_index) {
      const size_t whole = end;
      if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
        ++end;
        digits();
        is_float = true;
      }
      const size_t mantissa = end;
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        ++end;
        if (end < source_.size() && (source_[end] == '+' || source_[end] == '-')) ++end;
        is_float = digits() || is_float;
        if (!IsDigit(source_[end - 1])) end = mantissa;
      }
      if (!is_float) end = whole;
    }
    std::string text = source_.substr(offset_, end - offset_);
    if (end < source_.size() && IsNameCharacter(source_[end])) Refuse("the number " + Quoted(text));
    std::erase(text, '_');
    const bool zeros = text.find_first_not_of('0') == std::string::npos;
    if (!is_float && (text.size() > 18 || (text.size() > 1 && text[0] == '0' && !zeros))) {
      Refuse("the number " + Quoted(text));
    }
    if (is_float && text.size() > 64) Refuse("the number " + Quoted(text));
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    Advance(end);
  }

  // As Python's unicode-escape codec reads it.
  void String(char quote) {
    std::string text;
    size_t i = offset_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\') {
        text += source_[i];
        continue;
      }
      if (++i == source_.size()) break;
      i = Escape(i, text);
    }
    if (i >= source_.size()) Refuse("a string that does not end");
    Add(TokenKind::kString, std::move(text));
    Advance(i + 1);
  }

  // The escape whose letter stands at `i`; returns where it ends.
  size_t Escape(size_t i, std::string& text) {
    constexpr std::string_view kEscapes = "ntrabfv\\'\"", kMeanings = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[i];
    if (c == '\n') return i;  // a line that goes on
    const size_t which = kEscapes.find(c);
    if (which != std::string_view::npos) {
      text += kMeanings[which];
      return i;
    }
    const auto refuse = [&](size_t end) {
      Refuse("the escape " + Quoted(source_.substr(i - 1, end - i + 1)));
    };
    char32_t code = 0;
    size_t end = i;
    if (c >= '0' && c <= '7') {
      for (; end < i + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7';
           ++end)
        code = code * 8 + static_cast<char32_t>(source_[end] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::string digits = source_.substr(i + 1, n_digits);
      end = i + 1 + n_digits;
      if (digits.size() != n_digits ||
          digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        refuse(i + 1);
      }
      code = static_cast<char32_t>(std::stoul(digits, nullptr, 16));
    } else if (c == 'N') {
      refuse(i + 1);
    } else {  // Python keeps what it does not know
      text += '\\';
      return i - 1;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse(end);
    AppendUtf8(text, code);
    return end - 1;
  }

  std::string source_;
  size_t offset_ = 0;
  int64_t line_ = 1;
  bool at_line_start_ = true;
  std::string open_;  // what closes the brackets that are open
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace kvfold::jinja
