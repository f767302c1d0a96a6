#include "models/chat/jinja_expression_parser.h"

#include <algorithm>
#include <charconv>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

constexpr int kDeepest = 100;  // nested statements or brackets
constexpr int kHighest = 400;  // a chain of operators
using Kind = Expression::Kind;

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : depth(parser.depth_) {
  if (depth >= kDeepest) parser.Refuse();
  ++depth;
}

void ExpressionParser::Refuse() const {
  const Token& token = Now();
  throw InputError(fmt::format("line {} has {} where it is not supported", token.line,
                               token.text.empty() ? "a delimiter" : Quoted(token.text)));
}

bool ExpressionParser::Take(TokenKind kind, std::string_view text) {
  if (!Is(kind, text)) return false;
  Skip();
  return true;
}

std::string ExpressionParser::Expect(TokenKind kind) {
  if (Now().kind != kind) Refuse();
  return tokens_[next_++].text;
}

void ExpressionParser::ExpectOperator(std::string_view text) {
  if (!TakeOperator(text)) Refuse();
}

void ExpressionParser::ExpectWord(std::string_view text) {
  if (!TakeWord(text)) Refuse();
}

void ExpressionParser::Grow(Expression& parent, const Expression& part) const {
  parent.height = std::max(parent.height, part.height + 1);
  if (parent.height > kHighest) Refuse();
}

void ExpressionParser::Attach(Expression& parent, ExpressionPtr operand) {
  if (operand != nullptr) Grow(parent, *operand);
  parent.operands.push_back(std::move(operand));
}

bool ExpressionParser::AtTupleEnd() const {
  return Now().kind == TokenKind::kEndPrint || Now().kind == TokenKind::kEndBlock ||
         IsOperator(")") || IsWord("in") || IsWord("recursive");
}

ExpressionPtr ExpressionParser::Tuple(bool with_choice) {
  const auto one = [&] { return with_choice ? Whole() : Or(); };
  ExpressionPtr first = one();
  if (!IsOperator(",")) return first;
  ExpressionPtr tuple = Make(Kind::kTuple, "", std::move(first));
  while (TakeOperator(",")) {
    if (AtTupleEnd()) break;
    Attach(*tuple, one());
  }
  return tuple;
}

ExpressionPtr ExpressionParser::Target(bool with_attribute) {
  const auto one = [&]() -> ExpressionPtr {
    const Nesting nesting(*this);
    if (TakeOperator("(")) {
      ExpressionPtr inner = Target(with_attribute);
      ExpectOperator(")");
      return inner;
    }
    ExpressionPtr name = Make(Kind::kName, Expect(TokenKind::kName));
    for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"}) {
      if (name->text == constant) Refuse();
    }
    if (!with_attribute || !TakeOperator(".")) return name;
    return Make(Kind::kAttribute, Expect(TokenKind::kName), std::move(name));
  };
  ExpressionPtr first = one();
  if (!IsOperator(",")) return first;
  ExpressionPtr tuple = Make(Kind::kTuple, "", std::move(first));
  while (TakeOperator(",")) {
    if (AtTupleEnd() || IsOperator("=")) break;
    Attach(*tuple, one());
  }
  return tuple;
}

ExpressionPtr ExpressionParser::Whole() {
  const Nesting nesting(*this);
  ExpressionPtr value = Or();
  while (TakeWord("if")) {
    ExpressionPtr condition = Or();
    ExpressionPtr otherwise = TakeWord("else") ? Whole() : nullptr;
    value = Make(Kind::kChoice, "if", std::move(value), std::move(condition), std::move(otherwise));
  }
  return value;
}

ExpressionPtr ExpressionParser::Or() {
  ExpressionPtr left = And();
  while (TakeWord("or")) left = Make(Kind::kBinary, "or", std::move(left), And());
  return left;
}

ExpressionPtr ExpressionParser::And() {
  ExpressionPtr left = Not();
  while (TakeWord("and")) left = Make(Kind::kBinary, "and", std::move(left), Not());
  return left;
}

ExpressionPtr ExpressionParser::Not() {
  const Nesting nesting(*this);
  if (TakeWord("not")) return Make(Kind::kUnary, "not", Not());
  return Comparison();
}

ExpressionPtr ExpressionParser::Comparison() {
  ExpressionPtr first = Sum();
  ExpressionPtr chain;
  while (true) {
    std::string comparison;
    for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (TakeOperator(op)) comparison = op;
      if (!comparison.empty()) break;
    }
    if (comparison.empty() && TakeWord("in")) comparison = "in";
    if (comparison.empty() && IsWord("not") && Behind().kind == TokenKind::kName &&
        Behind().text == "in") {
      Skip();
      Skip();
      comparison = "not in";
    }
    if (comparison.empty()) return chain == nullptr ? std::move(first) : std::move(chain);
    if (chain == nullptr) chain = Make(Kind::kCompare, "", std::move(first));
    chain->comparisons.push_back(std::move(comparison));
    Attach(*chain, Sum());
  }
}

// Jinja's order: + and - bind loosest, then ~, then *, /, // and %, then **.
ExpressionPtr ExpressionParser::Sum() {
  ExpressionPtr left = Concatenation();
  while (IsOperator("+") || IsOperator("-")) {
    std::string op = Expect(TokenKind::kOperator);
    left = Make(Kind::kBinary, std::move(op), std::move(left), Concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::Concatenation() {
  ExpressionPtr first = Product();
  if (!IsOperator("~")) return first;
  ExpressionPtr all = Make(Kind::kConcat, "~", std::move(first));
  while (TakeOperator("~")) Attach(*all, Product());
  return all;
}

ExpressionPtr ExpressionParser::Product() {
  ExpressionPtr left = Power();
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    std::string op = Expect(TokenKind::kOperator);
    left = Make(Kind::kBinary, std::move(op), std::move(left), Power());
  }
  return left;
}

ExpressionPtr ExpressionParser::Power() {
  ExpressionPtr left = Unary(true);
  while (TakeOperator("**")) left = Make(Kind::kBinary, "**", std::move(left), Unary(true));
  return left;
}

ExpressionPtr ExpressionParser::Unary(bool with_filters) {
  const Nesting nesting(*this);
  ExpressionPtr value;
  if (IsOperator("-") || IsOperator("+")) {
    std::string sign = Expect(TokenKind::kOperator);
    value = Make(Kind::kUnary, std::move(sign), Unary(false));
  } else {
    value = Primary();
  }
  value = Postfix(std::move(value));
  return with_filters ? FiltersAndTests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::Primary() {
  const Token& token = Now();
  switch (token.kind) {
    case TokenKind::kName: {
      const std::string name = Expect(TokenKind::kName);
      if (name == "none" || name == "None") return Make(Kind::kNone, name);
      special_names_ |= {name == "caller", name == "varargs", name == "kwargs"};
      const bool is_true = name == "true" || name == "True";
      if (!is_true && name != "false" && name != "False") return Make(Kind::kName, name);
      ExpressionPtr made = Make(Kind::kBool, name);
      made->integer = is_true ? 1 : 0;
      return made;
    }
    case TokenKind::kString: {
      ExpressionPtr made = Make(Kind::kString, Expect(TokenKind::kString));
      while (Now().kind == TokenKind::kString) made->text += Expect(TokenKind::kString);
      return made;
    }
    case TokenKind::kInteger: {
      ExpressionPtr made = Make(Kind::kInteger, Expect(TokenKind::kInteger));
      made->integer = std::stoll(made->text);
      return made;
    }
    case TokenKind::kFloat: {
      ExpressionPtr made = Make(Kind::kFloat, Expect(TokenKind::kFloat));
      const char* const end = made->text.data() + made->text.size();
      if (std::from_chars(made->text.data(), end, made->number).ec != std::errc()) Refuse();
      return made;
    }
    default:
      return Brackets();
  }
}

ExpressionPtr ExpressionParser::Brackets() {
  if (TakeOperator("(")) {
    if (TakeOperator(")")) return Make(Kind::kTuple, "");
    ExpressionPtr inner = Tuple();
    ExpectOperator(")");
    return inner;
  }
  if (TakeOperator("[")) {
    ExpressionPtr list = Make(Kind::kList, "");
    while (!TakeOperator("]")) {
      Attach(*list, Whole());
      if (!IsOperator("]")) ExpectOperator(",");
    }
    return list;
  }
  ExpectOperator("{");
  ExpressionPtr dict = Make(Kind::kDict, "");
  while (!TakeOperator("}")) {
    Attach(*dict, Whole());
    ExpectOperator(":");
    Attach(*dict, Whole());
    if (!IsOperator("}")) ExpectOperator(",");
  }
  return dict;
}

ExpressionPtr ExpressionParser::Postfix(ExpressionPtr value) {
  while (true) {
    if (TakeOperator(".")) {
      if (Now().kind == TokenKind::kInteger) {
        ExpressionPtr index = Make(Kind::kInteger, Expect(TokenKind::kInteger));
        index->integer = std::stoll(index->text);
        value = Make(Kind::kItem, "an item", std::move(value), std::move(index));
      } else {
        value = Make(Kind::kAttribute, Expect(TokenKind::kName), std::move(value));
      }
    } else if (TakeOperator("[")) {
      value = Subscript(std::move(value));
    } else if (IsOperator("(")) {
      value = Call(std::move(value));
    } else {
      return value;
    }
  }
}

// Behind "[".
ExpressionPtr ExpressionParser::Subscript(ExpressionPtr value) {
  const auto at_end = [&] { return IsOperator("]") || IsOperator(":"); };
  ExpressionPtr first = at_end() ? nullptr : Whole();
  if (first == nullptr && !IsOperator(":")) Refuse();
  if (!TakeOperator(":")) {
    ExpectOperator("]");
    return Make(Kind::kItem, "an item", std::move(value), std::move(first));
  }
  ExpressionPtr last = at_end() ? nullptr : Whole();
  ExpressionPtr step = TakeOperator(":") && !at_end() ? Whole() : nullptr;
  ExpectOperator("]");
  return Make(Kind::kSlice, "a slice", std::move(value), std::move(first), std::move(last),
              std::move(step));
}

ExpressionPtr ExpressionParser::FiltersAndTests(ExpressionPtr value) {
  while (true) {
    if (IsOperator("|")) {
      value = Filters(std::move(value), /*inside=*/false);
    } else if (TakeWord("is")) {
      value = Test(std::move(value));
    } else if (IsOperator("(")) {
      value = Call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::Filters(ExpressionPtr value, bool inside) {
  while (inside || TakeOperator("|")) {
    inside = false;
    ExpressionPtr filter = Make(Kind::kFilter, DottedName());
    Attach(*filter, std::move(value));
    if (TakeOperator("(")) Arguments(*filter);
    value = std::move(filter);
  }
  return value;
}

std::string ExpressionParser::DottedName() {
  std::string name = Expect(TokenKind::kName);
  while (TakeOperator(".")) name.append(1, '.').append(Expect(TokenKind::kName));
  return name;
}

// Behind "is". One argument may stand without brackets.
ExpressionPtr ExpressionParser::Test(ExpressionPtr value) {
  const bool negated = TakeWord("not");
  ExpressionPtr test = Make(Kind::kTest, DottedName());
  Attach(*test, std::move(value));
  const bool at_value =
      Now().kind == TokenKind::kString || Now().kind == TokenKind::kInteger ||
      Now().kind == TokenKind::kFloat || IsOperator("[") || IsOperator("{") ||
      (Now().kind == TokenKind::kName && !IsWord("else") && !IsWord("or") && !IsWord("and"));
  if (TakeOperator("(")) {
    Arguments(*test);
  } else if (at_value) {
    if (IsWord("is")) Refuse();  // tests cannot be chained
    ExpressionPtr argument = Postfix(Primary());
    Grow(*test, *argument);
    test->arguments.positional.push_back(std::move(argument));
  }
  return negated ? Make(Kind::kUnary, "not", std::move(test)) : std::move(test);
}

ExpressionPtr ExpressionParser::Call(ExpressionPtr callee) {
  ExpectOperator("(");
  ExpressionPtr call = Make(Kind::kCall, "a call", std::move(callee));
  Arguments(*call);
  return call;
}

// Behind "(".
void ExpressionParser::Arguments(Expression& call) {
  CallArguments& arguments = call.arguments;
  while (!TakeOperator(")")) {
    const bool named = Now().kind == TokenKind::kName && Behind().kind == TokenKind::kOperator &&
                       Behind().text == "=";
    if (TakeOperator("*") || TakeOperator("**")) {
      arguments.unpacks = true;
      Whole();
    } else if (named) {
      std::string name = Expect(TokenKind::kName);
      Skip();
      ExpressionPtr value = Whole();
      Grow(call, *value);
      arguments.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!arguments.named.empty() || arguments.unpacks) Refuse();
      ExpressionPtr value = Whole();
      Grow(call, *value);
      arguments.positional.push_back(std::move(value));
    }
    if (!IsOperator(")")) ExpectOperator(",");
  }
}

}  // namespace kvfold::jinja
