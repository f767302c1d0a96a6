#include "models/chat/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
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
        while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
      } else if (sign != '+' && source_[open + 1] != '{') {  // lstrip_blocks
        const size_t line = text.rfind('\n') + 1;            // 0 where there is none
        const bool from_line_start = line > 0 || at_line_start_;
        if (from_line_start &&
            std::all_of(text.begin() + static_cast<int64_t>(line), text.end(), IsSpace)) {
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
    Add(kind == '%' ? TokenKind::kBeginBlock : TokenKind::kBeginPrint, "");
    const std::string_view close = kind == '%' ? "%}" : "}}";
    int64_t n_open = 0;  // brackets; "}}" may close two of them
    while (true) {
      while (offset_ < source_.size() && IsSpace(source_[offset_])) Advance(offset_ + 1);
      if (offset_ >= source_.size()) Refuse("a tag that does not end");
      char sign = ' ';
      if ((Next("-") || Next("+")) &&
          std::string_view(source_).substr(offset_ + 1).starts_with(close)) {
        sign = source_[offset_];
        Advance(offset_ + 1);
      }
      if (n_open == 0 && Next(close)) {
        Add(kind == '%' ? TokenKind::kEndBlock : TokenKind::kEndPrint, "");
        Close(close, sign);
        return;
      }
      Expression(n_open);
    }
  }

  // Behind a closing delimiter: '-' takes all white space, and blocks take a line end (trim_blocks)
  // unless '+'.
  void Close(std::string_view close, char sign) {
    size_t end = offset_ + 2;
    if (sign == '-') {
      while (end < source_.size() && IsSpace(source_[end])) ++end;
    } else if (sign != '+' && close != "}}" && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    Advance(end);
    at_line_start_ = source_[end - 1] == '\n';
  }

  void Expression(int64_t& n_open) {
    const char c = source_[offset_];
    if (c == '\'' || c == '"') {
      String(c);
      return;
    }
    if (IsNameCharacter(c)) {
      size_t end = offset_;
      while (end < source_.size() && IsNameCharacter(source_[end])) ++end;
      const std::string word = source_.substr(offset_, end - offset_);
      const bool integer = std::all_of(word.begin(), word.end(), IsDigit);
      if (IsDigit(c) && (!integer || word.size() > 9)) Refuse("the number " + Quoted(word));
      Add(integer ? TokenKind::kInteger : TokenKind::kName, word);
      Advance(end);
      return;
    }
    constexpr std::array<std::string_view, 18> kOperators = {
        "==", "!=", "(", ")", "[", "]", ".", ",", "|", "+", "-", "~", "%", ":", "=", "{", "}", "/"};
    for (const std::string_view op : kOperators) {
      if (!Next(op)) continue;
      if (op == "(" || op == "[" || op == "{") ++n_open;
      if (op == ")" || op == "]" || op == "}") n_open = std::max<int64_t>(0, n_open - 1);
      Add(TokenKind::kOperator, std::string(op));
      Advance(offset_ + op.size());
      return;
    }
    Refuse(Quoted(source_.substr(offset_, 1)));
  }

  void String(char quote) {
    std::string text;
    size_t i = offset_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\') {
        text += source_[i];
        continue;
      }
      constexpr std::string_view kEscapes = "ntr\\'\"", kMeanings = "\n\t\r\\'\"";
      if (++i == source_.size()) break;
      const size_t which = kEscapes.find(source_[i]);
      if (which == std::string_view::npos) Refuse("the escape " + Quoted(source_.substr(i - 1, 2)));
      text += kMeanings[which];
    }
    if (i >= source_.size()) Refuse("a string that does not end");
    Add(TokenKind::kString, std::move(text));
    Advance(i + 1);
  }

  std::string source_;
  size_t offset_ = 0;
  int64_t line_ = 1;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace kvfold::jinja
