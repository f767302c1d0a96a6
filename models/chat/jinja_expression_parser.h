// models/chat/jinja_expression_parser.h: expressions of Jinja from tokens, precedence as in
// jinja2/parser.py. What statements are parsed with, too.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/chat/jinja_ast.h"
#include "models/chat/jinja_lexer.h"

namespace kvfold::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view source) : tokens_(Tokenize(source)) {}

 protected:
  struct Nesting {  // counts one level while it lives
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    int& depth;
  };

  const Token& Now() const { return tokens_[next_]; }
  const Token& Behind() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  [[noreturn]] void Refuse() const;
  bool Is(TokenKind kind, std::string_view text) const {
    return Now().kind == kind && Now().text == text;
  }
  bool IsOperator(std::string_view text) const { return Is(TokenKind::kOperator, text); }
  bool IsWord(std::string_view text) const { return Is(TokenKind::kName, text); }
  bool Take(TokenKind kind, std::string_view text);
  bool TakeOperator(std::string_view text) { return Take(TokenKind::kOperator, text); }
  bool TakeWord(std::string_view text) { return Take(TokenKind::kName, text); }
  std::string Expect(TokenKind kind);
  void ExpectOperator(std::string_view text);
  void ExpectWord(std::string_view text);
  void Skip() { ++next_; }
  SpecialNames& special_names() { return special_names_; }  // that were read so far

  // An expression; several with commas between are a tuple.
  ExpressionPtr Tuple(bool with_choice = true);
  ExpressionPtr Whole();
  // Names, tuples of them, and where `with_attribute` a namespace's attribute, to be set.
  ExpressionPtr Target(bool with_attribute);
  // Filters behind `value`, which may be null: a block's text. `inside`: the first '|' is left out.
  ExpressionPtr Filters(ExpressionPtr value, bool inside);

  template <typename... Operands>
  ExpressionPtr Make(Expression::Kind kind, std::string text, Operands... operands) {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->text = std::move(text);
    made->line = Now().line;
    (Attach(*made, std::move(operands)), ...);
    return made;
  }

 private:
  void Attach(Expression& parent, ExpressionPtr operand);
  void Grow(Expression& parent, const Expression& part) const;
  ExpressionPtr Or();
  ExpressionPtr And();
  ExpressionPtr Not();
  ExpressionPtr Comparison();
  ExpressionPtr Sum();
  ExpressionPtr Concatenation();
  ExpressionPtr Product();
  ExpressionPtr Power();
  ExpressionPtr Unary(bool with_filters);
  ExpressionPtr Primary();
  ExpressionPtr Brackets();
  ExpressionPtr Postfix(ExpressionPtr value);
  ExpressionPtr Subscript(ExpressionPtr value);
  ExpressionPtr FiltersAndTests(ExpressionPtr value);
  ExpressionPtr Test(ExpressionPtr value);
  ExpressionPtr Call(ExpressionPtr callee);
  void Arguments(Expression& call);
  bool AtTupleEnd() const;
  std::string DottedName();

  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
  SpecialNames special_names_;
};

}  // namespace kvfold::jinja
