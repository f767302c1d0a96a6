#include "models/chat/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

constexpr int kDeepest = 100;   // nested statements or brackets
constexpr int kHighest = 1000;  // a chain of operators
using Kind = Expression::Kind;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(Tokenize(source)) {}

  std::vector<Statement> Run() {
    std::vector<Statement> statements = Body({});
    if (Now().kind != TokenKind::kEnd) Refuse();
    return statements;
  }

 private:
  struct Nesting {  // counts one level while it lives
    explicit Nesting(Parser& parser) : depth(parser.depth_) {
      if (++depth > kDeepest) parser.Refuse();
    }
    ~Nesting() { --depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    int& depth;
  };

  const Token& Now() const { return tokens_[next_]; }
  const Token& Behind() const { return tokens_[std::min(next_ + 1, tokens_.size() - 1)]; }
  [[noreturn]] void Refuse() const {
    const Token& token = Now();
    throw InputError(fmt::format("line {} has {} where it is not supported", token.line,
                                 token.text.empty() ? "a delimiter" : Quoted(token.text)));
  }
  bool Is(TokenKind kind, std::string_view text) const {
    return Now().kind == kind && Now().text == text;
  }
  bool Take(TokenKind kind, std::string_view text) {
    if (!Is(kind, text)) return false;
    ++next_;
    return true;
  }
  bool TakeOperator(std::string_view text) { return Take(TokenKind::kOperator, text); }
  bool TakeWord(std::string_view text) { return Take(TokenKind::kName, text); }
  std::string Expect(TokenKind kind) {
    if (Now().kind != kind) Refuse();
    return tokens_[next_++].text;
  }
  void ExpectOperator(std::string_view text) {
    if (!TakeOperator(text)) Refuse();
  }

  // Statements up to a block that begins with one of `ends`, which is left, its name next; or to
  // the end of the template.
  std::vector<Statement> Body(std::initializer_list<std::string_view> ends) {
    const Nesting nesting(*this);
    std::vector<Statement> statements;
    while (Now().kind != TokenKind::kEnd) {
      Statement& made = statements.emplace_back();
      made.line = Now().line;
      if (Now().kind == TokenKind::kText) {
        made.text = Expect(TokenKind::kText);
      } else if (Now().kind == TokenKind::kBeginPrint) {
        ++next_;
        made.kind = Statement::Kind::kPrint;
        made.expression = Whole();
        Expect(TokenKind::kEndPrint);
      } else {
        Expect(TokenKind::kBeginBlock);
        for (const std::string_view end : ends) {
          if (Is(TokenKind::kName, end)) {
            statements.pop_back();
            return statements;
          }
        }
        Block(made);
      }
    }
    if (ends.size() != 0) Refuse();
    return statements;
  }

  void Block(Statement& made) {
    if (TakeWord("if")) {
      If(made);
    } else if (TakeWord("for")) {
      made.kind = Statement::Kind::kFor;
      made.text = Expect(TokenKind::kName);
      while (TakeOperator(",")) made.text.append(1, ',').append(Expect(TokenKind::kName));
      if (!TakeWord("in")) Refuse();
      made.expression = Or();  // no "if" of a loop's own
      Expect(TokenKind::kEndBlock);
      made.body = Body({"endfor"});
      ++next_;
      Expect(TokenKind::kEndBlock);
    } else if (TakeWord("set")) {
      made.kind = Statement::Kind::kSet;
      made.text = Expect(TokenKind::kName);
      ExpectOperator("=");
      made.expression = Whole();
      Expect(TokenKind::kEndBlock);
    } else {
      Refuse();
    }
  }

  // Behind "if" or "elif".
  void If(Statement& made) {
    const Nesting nesting(*this);
    made.kind = Statement::Kind::kIf;
    made.expression = Whole();
    Expect(TokenKind::kEndBlock);
    made.body = Body({"elif", "else", "endif"});
    if (TakeWord("elif")) {
      Statement& inner = made.else_body.emplace_back();
      inner.line = Now().line;
      If(inner);
      return;
    }
    if (TakeWord("else")) {
      Expect(TokenKind::kEndBlock);
      made.else_body = Body({"endif"});
    }
    ++next_;
    Expect(TokenKind::kEndBlock);
  }

  template <typename... Operands>
  ExpressionPtr Make(Kind kind, std::string text, Operands... operands) {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->text = std::move(text);
    made->line = Now().line;
    (Attach(*made, std::move(operands)), ...);
    return made;
  }
  void Attach(Expression& parent, ExpressionPtr operand) {
    if (operand != nullptr) parent.height = std::max(parent.height, operand->height + 1);
    if (parent.height > kHighest) Refuse();
    parent.operands.push_back(std::move(operand));
  }

  ExpressionPtr Whole() {
    const Nesting nesting(*this);
    ExpressionPtr value = Or();
    if (!TakeWord("if")) return value;
    ExpressionPtr condition = Or();
    ExpressionPtr otherwise = TakeWord("else") ? Whole() : nullptr;
    return Make(Kind::kChoice, "if", std::move(value), std::move(condition), std::move(otherwise));
  }
  ExpressionPtr Or() {
    ExpressionPtr left = And();
    while (TakeWord("or")) left = Make(Kind::kBinary, "or", std::move(left), And());
    return left;
  }
  ExpressionPtr And() {
    ExpressionPtr left = Not();
    while (TakeWord("and")) left = Make(Kind::kBinary, "and", std::move(left), Not());
    return left;
  }
  ExpressionPtr Not() {
    const Nesting nesting(*this);
    if (TakeWord("not")) return Make(Kind::kUnary, "not", Not());
    return Comparison();
  }
  // Chains (a == b == c) mean something else than they look like, and are refused.
  ExpressionPtr Comparison() {
    ExpressionPtr left = Sum();
    const bool negated = Is(TokenKind::kName, "not") && Behind().text == "in";
    if (negated) ++next_;
    for (const std::string_view op : {"==", "!="}) {
      if (TakeOperator(op)) return Make(Kind::kBinary, std::string(op), std::move(left), Sum());
    }
    if (!TakeWord("in")) return left;
    ExpressionPtr in = Make(Kind::kBinary, "in", std::move(left), Sum());
    return negated ? Make(Kind::kUnary, "not", std::move(in)) : std::move(in);
  }
  // Jinja's order: + and - bind loosest, then ~, then %.
  ExpressionPtr Sum() {
    ExpressionPtr left = Concatenation();
    while (Is(TokenKind::kOperator, "+") || Is(TokenKind::kOperator, "-")) {
      std::string op = Expect(TokenKind::kOperator);
      left = Make(Kind::kBinary, std::move(op), std::move(left), Concatenation());
    }
    return left;
  }
  ExpressionPtr Concatenation() {
    ExpressionPtr left = Remainder();
    while (TakeOperator("~")) left = Make(Kind::kBinary, "~", std::move(left), Remainder());
    return left;
  }
  ExpressionPtr Remainder() {
    ExpressionPtr left = Unary();
    while (TakeOperator("%")) left = Make(Kind::kBinary, "%", std::move(left), Unary());
    return left;
  }
  ExpressionPtr Unary() {
    const Nesting nesting(*this);
    if (TakeOperator("-")) return Make(Kind::kUnary, "-", Unary());
    ExpressionPtr value = Postfix(Primary());
    while (true) {
      if (TakeOperator("|")) {
        value = Make(Kind::kFilter, Expect(TokenKind::kName), std::move(value));
        if (TakeOperator("(")) Arguments(*value);
      } else if (TakeWord("is")) {
        const bool negated = TakeWord("not");
        value = Make(Kind::kTest, Expect(TokenKind::kName), std::move(value));
        if (negated) value = Make(Kind::kUnary, "not", std::move(value));
      } else {
        return value;
      }
    }
  }

  ExpressionPtr Primary() {
    const Token token = Now();
    if (token.kind == TokenKind::kName) return Make(Kind::kName, Expect(TokenKind::kName));
    if (token.kind == TokenKind::kString) return Make(Kind::kString, Expect(TokenKind::kString));
    if (token.kind == TokenKind::kInteger) {
      ExpressionPtr made = Make(Kind::kInteger, Expect(TokenKind::kInteger));
      made->integer = std::stoll(made->text);
      return made;
    }
    if (TakeOperator("[")) {
      ExpressionPtr made = Make(Kind::kOther, "a list");
      while (!TakeOperator("]")) {
        Attach(*made, Whole());
        if (!Is(TokenKind::kOperator, "]")) ExpectOperator(",");
      }
      return made;
    }
    ExpectOperator("(");
    ExpressionPtr inner = Whole();
    ExpectOperator(")");
    return inner;
  }

  ExpressionPtr Postfix(ExpressionPtr value) {
    while (true) {
      if (TakeOperator(".")) {
        value = Make(Kind::kAttribute, Expect(TokenKind::kName), std::move(value));
      } else if (TakeOperator("(")) {
        value = Make(Kind::kCall, "a call", std::move(value));
        Arguments(*value);
      } else if (TakeOperator("[")) {
        ExpressionPtr first = Is(TokenKind::kOperator, ":") ? nullptr : Whole();
        if (TakeOperator(":")) {
          ExpressionPtr last = Is(TokenKind::kOperator, "]") ? nullptr : Whole();
          value =
              Make(Kind::kSlice, "a slice", std::move(value), std::move(first), std::move(last));
        } else {
          value = Make(Kind::kItem, "an item", std::move(value), std::move(first));
        }
        ExpectOperator("]");
      } else {
        return value;
      }
    }
  }

  // Behind "("; a keyword's name is dropped and marks the call as one that is never evaluated.
  void Arguments(Expression& call) {
    while (!TakeOperator(")")) {
      if (Now().kind == TokenKind::kName && Behind().kind == TokenKind::kOperator &&
          Behind().text == "=") {
        next_ += 2;
        Attach(call, Make(Kind::kOther, "a keyword argument", Whole()));
      } else {
        Attach(call, Whole());
      }
      if (!Is(TokenKind::kOperator, ")")) ExpectOperator(",");
    }
  }

  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace

std::vector<Statement> Parse(std::string_view source) { return Parser(source).Run(); }

}  // namespace kvfold::jinja
