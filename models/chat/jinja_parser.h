// models/chat/jinja_parser.h: the part of Jinja's grammar that chat templates use, as a tree. More
// parses than can be evaluated: a template's branches for tools must be read to be passed by.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat/jinja_lexer.h"

namespace kvfold::jinja {

struct Expression {
  enum class Kind {
    kString,     // text
    kInteger,    // integer
    kName,       // text; true, false and none too
    kAttribute,  // operands[0].text
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1]:operands[2]], an absent bound is null
    kCall,       // operands[0](operands[1], ...)
    kFilter,     // operands[0] | text(operands[1], ...)
    kTest,       // operands[0] is text
    kUnary,      // text (not, -) operands[0]
    kBinary,     // operands[0] text (and, or, ==, !=, in, +, -, ~, %) operands[1]
    kChoice,     // operands[0] if operands[1] else operands[2], which may be null
    kOther,      // text names it: parsed, never evaluated
  };
  Kind kind = Kind::kOther;
  std::string text;
  int64_t integer = 0;
  int64_t line = 1;
  int height = 1;  // of the tree below, so that no chain of operators exhausts the stack
  std::vector<std::unique_ptr<Expression>> operands;
};
using ExpressionPtr = std::unique_ptr<Expression>;

struct Statement {
  enum class Kind {
    kText,   // text
    kPrint,  // expression
    kIf,     // expression; body, else_body
    kFor,    // text in expression; body. A text with a comma, "a,b", is parsed, never evaluated
    kSet,    // text = expression
  };
  Kind kind = Kind::kText;
  std::string text;
  int64_t line = 1;
  ExpressionPtr expression;
  std::vector<Statement> body;
  std::vector<Statement> else_body;
};

// Throws InputError naming what is not supported, and the line.
std::vector<Statement> Parse(std::string_view source);

}  // namespace kvfold::jinja
