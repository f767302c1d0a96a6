#include "models/chat/jinja_parser.h"

#include <initializer_list>
#include <utility>

#include "models/chat/jinja_expression_parser.h"

namespace kvfold::jinja {
namespace {

using Kind = Statement::Kind;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  std::vector<Statement> Run() {
    std::vector<Statement> statements = Body({});
    if (Now().kind != TokenKind::kEnd) Refuse();
    return statements;
  }

 private:
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
        Skip();
        made.kind = Kind::kPrint;
        made.expression = Tuple();
        Expect(TokenKind::kEndPrint);
      } else {
        Expect(TokenKind::kBeginBlock);
        for (const std::string_view end : ends) {
          if (IsWord(end)) {
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
  // The body of the block whose head ends here, and its end. A loop around it cannot be left from
  // inside.
  std::vector<Statement> BodyTo(std::string_view end) {
    EndHead();
    const bool in_loop = std::exchange(in_loop_, false);
    std::vector<Statement> body = Body({end});
    in_loop_ = in_loop;
    Skip();
    Expect(TokenKind::kEndBlock);
    return body;
  }
  void EndHead() {
    TakeOperator(":");  // as in Python
    Expect(TokenKind::kEndBlock);
  }

  void Block(Statement& made) {
    if (TakeWord("if")) {
      If(made);
    } else if (TakeWord("for")) {
      For(made);
    } else if (TakeWord("set")) {
      Set(made);
    } else if (TakeWord("macro")) {
      Macro(made);
    } else if (TakeWord("call")) {
      made.kind = Kind::kCall;
      if (TakeOperator("(")) made.signature = Parameters();
      made.expression = Whole();
      if (made.expression->kind != Expression::Kind::kCall) Refuse();
      made.body = BodyTo("endcall");
    } else if (TakeWord("filter")) {
      made.kind = Kind::kFilter;
      made.expression = Filters(nullptr, /*inside=*/true);
      made.body = BodyTo("endfilter");
    } else if (TakeWord("generation")) {  // transformers' own: it marks what the assistant says
      made.kind = Kind::kScope;
      made.body = BodyTo("endgeneration");
    } else if (TakeWord("with")) {
      made.kind = Kind::kScope;
      while (Now().kind == TokenKind::kName) {
        std::string name = Expect(TokenKind::kName);
        ExpectOperator("=");
        made.assigned.emplace_back(std::move(name), Whole());
        if (!TakeOperator(",")) break;
      }
      made.body = BodyTo("endwith");
    } else if (in_loop_ && TakeWord("break")) {
      made.kind = Kind::kBreak;
      Expect(TokenKind::kEndBlock);
    } else if (in_loop_ && TakeWord("continue")) {
      made.kind = Kind::kContinue;
      Expect(TokenKind::kEndBlock);
    } else {
      Refuse();
    }
  }

  // Behind "if" or "elif".
  void If(Statement& made) {
    const Nesting nesting(*this);
    made.kind = Kind::kIf;
    made.expression = Tuple(/*with_choice=*/false);
    EndHead();
    made.body = Body({"elif", "else", "endif"});
    if (TakeWord("elif")) {
      Statement& inner = made.else_body.emplace_back();
      inner.line = Now().line;
      If(inner);
      return;
    }
    if (TakeWord("else")) {
      EndHead();
      made.else_body = Body({"endif"});
    }
    Skip();
    Expect(TokenKind::kEndBlock);
  }

  void For(Statement& made) {
    made.kind = Kind::kFor;
    made.target = Target(/*with_attribute=*/false);
    ExpectWord("in");
    made.expression = Tuple(/*with_choice=*/false);
    if (TakeWord("if")) made.condition = Whole();
    if (IsWord("recursive")) Refuse();
    EndHead();
    const bool outer = std::exchange(in_loop_, true);
    made.body = Body({"endfor", "else"});
    in_loop_ = outer;
    if (TakeWord("else")) {
      EndHead();
      made.else_body = Body({"endfor"});
    }
    Skip();
    Expect(TokenKind::kEndBlock);
  }

  void Set(Statement& made) {
    made.target = Target(/*with_attribute=*/true);
    if (TakeOperator("=")) {
      made.kind = Kind::kSet;
      made.expression = Tuple();
      Expect(TokenKind::kEndBlock);
      return;
    }
    made.kind = Kind::kSetBlock;
    made.expression = Filters(nullptr, /*inside=*/false);
    made.body = BodyTo("endset");
  }

  void Macro(Statement& made) {
    made.kind = Kind::kMacro;
    made.text = Expect(TokenKind::kName);
    ExpectOperator("(");
    made.signature = Parameters();
    const SpecialNames outer = std::exchange(special_names(), {});
    made.body = BodyTo("endmacro");
    made.special_names = special_names();
    special_names() |= outer;
  }

  // Behind "(".
  Signature Parameters() {
    Signature signature;
    while (!TakeOperator(")")) {
      signature.names.push_back(Expect(TokenKind::kName));
      ExpressionPtr value = TakeOperator("=") ? Whole() : nullptr;
      if (value == nullptr && !signature.defaults.empty() && signature.defaults.back() != nullptr) {
        Refuse();
      }
      signature.defaults.push_back(std::move(value));
      if (!IsOperator(")")) ExpectOperator(",");
    }
    return signature;
  }

  bool in_loop_ = false;
};

}  // namespace

std::vector<Statement> Parse(std::string_view source) { return Parser(source).Run(); }

}  // namespace kvfold::jinja
