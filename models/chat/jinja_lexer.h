// models/chat/jinja_lexer.h: a Jinja template cut into text and the tokens between its delimiters,
// white space control applied as transformers' environment has it (trim_blocks and lstrip_blocks
// on, one line end at the template's end dropped).
// https://jinja.palletsprojects.com/en/stable/templates/#whitespace-control
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold::jinja {

enum class TokenKind {
  kText,        // outside delimiters
  kBeginBlock,  // {%
  kEndBlock,    // %}
  kBeginPrint,  // {{
  kEndPrint,    // }}
  kName,
  kString,   // unescaped
  kInteger,  // decimal digits alone
  kFloat,    // as std::from_chars reads it
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int64_t line = 1;
};

// Ends with a kEnd token. Throws InputError naming what is not supported, and the line.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace kvfold::jinja
