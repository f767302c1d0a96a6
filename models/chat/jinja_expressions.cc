#include "models/chat/jinja_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "models/chat/jinja_filters.h"
#include "models/quoted.h"

namespace kvfold::jinja {

using Kind = Expression::Kind;

Value ExpressionEvaluator::Evaluate(const Expression& e) {
  const Nesting nesting(*this);
  machine_.SetLine(e.line);
  machine_.Work(1);
  switch (e.kind) {
    case Kind::kString:
      return machine_.NewText(e.text);
    case Kind::kInteger:
      return {e.integer};
    case Kind::kFloat:
      return {e.number};
    case Kind::kBool:
      return {e.integer != 0};
    case Kind::kNone:
      return {None{}};
    case Kind::kName:
      return Lookup(e.text);
    case Kind::kList:
      return machine_.NewList(All(e.operands));
    case Kind::kTuple:
      return machine_.NewList(All(e.operands), List::Kind::kTuple);
    case Kind::kDict:
      return Dictionary(e);
    case Kind::kAttribute:
      return AttributeOf(e);
    case Kind::kItem:
      return ItemOf(e);
    case Kind::kSlice:
      return SliceOf(e);
    case Kind::kCall:
      return Call(e, nullptr);
    case Kind::kFilter:
      return FilterOf(e, nullptr);
    case Kind::kTest: {
      const Value value = Evaluate(*e.operands[0]);
      const Arguments arguments = ArgumentsOf(e.arguments);
      machine_.SetLine(e.line);
      return {ApplyTest(machine_, e.text, value, arguments)};
    }
    case Kind::kUnary: {
      const Value value = Evaluate(*e.operands[0]);
      if (e.text == "not") return {!IsTrue(value)};
      if (e.text == "-") return machine_.Negated(value);
      if (!IsNumber(value)) machine_.Fail(fmt::format("a '+' before {}", TypeName(value)));
      return machine_.Arithmetic("+", {int64_t{0}}, value);
    }
    case Kind::kBinary:
      return Binary(e);
    case Kind::kCompare:
      return {Compare(e)};
    case Kind::kConcat: {
      std::string text;
      for (const ExpressionPtr& operand : e.operands) text += machine_.Str(Evaluate(*operand));
      return machine_.NewText(std::move(text));
    }
    case Kind::kChoice:
      if (IsTrue(Evaluate(*e.operands[1]))) return Evaluate(*e.operands[0]);
      if (e.operands[2] != nullptr) return Evaluate(*e.operands[2]);
      return MakeUndefined("the inline if-expression evaluated to false and no else was given");
  }
  machine_.Refuse("an expression of no kind");
}

std::vector<Value> ExpressionEvaluator::All(const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  for (const ExpressionPtr& expression : expressions) values.push_back(Evaluate(*expression));
  return values;
}

Value ExpressionEvaluator::Lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get()) {
    machine_.Work(1);
    if (const Value* found = scope->Find(name)) return *found;
  }
  if (const Value* found = globals_.Find(name)) return *found;
  // What Jinja defines and this program does not.
  for (const std::string_view other : {"lipsum", "cycler", "joiner", "self"}) {
    if (name == other) machine_.Refuse(name);
  }
  return MakeUndefined(fmt::format("{} is undefined", Quoted(name)));
}

Value ExpressionEvaluator::Dictionary(const Expression& e) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < e.operands.size(); i += 2) {
    Value key = Evaluate(*e.operands[i]), value = Evaluate(*e.operands[i + 1]);
    if (!Machine::IsHashable(key)) machine_.Fail(fmt::format("{} as a key", TypeName(key)));
    const auto same = std::ranges::find_if(
        entries, [&](const auto& entry) { return machine_.Equal(entry.first, key); });
    if (same != entries.end()) {
      same->second = std::move(value);
    } else {
      entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return machine_.NewDict(std::move(entries));
}

void ExpressionEvaluator::RefuseNamespaceInCondition(const Value& value) {
  if (in_condition_ > 0 && value.Is<Namespace>())
    machine_.Refuse("a namespace in the condition of a loop");
}

Value ExpressionEvaluator::AttributeOf(const Expression& e) {
  const Value value = Evaluate(*e.operands[0]);
  RefuseNamespaceInCondition(value);
  machine_.SetLine(e.line);
  return machine_.Attribute(value, e.text);
}

Value ExpressionEvaluator::ItemOf(const Expression& e) {
  const Value value = Evaluate(*e.operands[0]);
  const Value key = Evaluate(*e.operands[1]);
  RefuseNamespaceInCondition(value);
  machine_.SetLine(e.line);
  return machine_.Item(value, key);
}

Value ExpressionEvaluator::SliceOf(const Expression& e) {
  const Value value = Evaluate(*e.operands[0]);
  std::array<Value, 3> bounds;
  for (size_t i = 0; i < 3; ++i) {
    if (e.operands[i + 1] != nullptr) bounds[i] = Evaluate(*e.operands[i + 1]);
  }
  const auto bound = [&](size_t i) { return e.operands[i + 1] == nullptr ? nullptr : &bounds[i]; };
  machine_.SetLine(e.line);
  return machine_.Slice(value, bound(0), bound(1), bound(2));
}

Arguments ExpressionEvaluator::ArgumentsOf(const CallArguments& given) {
  if (given.unpacks) machine_.Refuse("a call with arguments that are unpacked");
  Arguments arguments;
  arguments.positional = All(given.positional);
  for (const auto& [name, value] : given.named) {
    const auto same = std::ranges::find_if(
        arguments.named, [&name = name](const auto& other) { return other.first == name; });
    if (same != arguments.named.end())
      machine_.Fail(fmt::format("the argument {} is given twice", Quoted(name)));
    arguments.named.emplace_back(name, Evaluate(*value));
  }
  return arguments;
}

Value ExpressionEvaluator::Call(const Expression& e, const Value* caller) {
  const Value callee = Evaluate(*e.operands[0]);
  Arguments arguments = ArgumentsOf(e.arguments);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  machine_.SetLine(e.line);
  if (const auto* undefined = callee.If<Undefined>(); undefined != nullptr && undefined->what)
    machine_.Fail(*undefined->what);
  const auto* function = callee.If<Callable>();
  if (function == nullptr) machine_.Fail(fmt::format("a call of {}", TypeName(callee)));
  return function->data->call(arguments);
}

Value ExpressionEvaluator::FilterOf(const Expression& e, const Value* text) {
  if (e.kind != Kind::kFilter) return Evaluate(e);
  const Value value = e.operands[0] == nullptr ? *text
                      : text == nullptr        ? Evaluate(*e.operands[0])
                                               : FilterOf(*e.operands[0], text);
  const Arguments arguments = ArgumentsOf(e.arguments);
  machine_.SetLine(e.line);
  return ApplyFilter(machine_, e.text, value, arguments);
}

Value ExpressionEvaluator::Binary(const Expression& e) {
  Value left = Evaluate(*e.operands[0]);
  if (e.text == "and") return IsTrue(left) ? Evaluate(*e.operands[1]) : left;
  if (e.text == "or") return IsTrue(left) ? left : Evaluate(*e.operands[1]);
  const Value right = Evaluate(*e.operands[1]);
  machine_.SetLine(e.line);
  return machine_.Arithmetic(e.text, left, right);
}

bool ExpressionEvaluator::Compare(const Expression& e) {
  Value left = Evaluate(*e.operands[0]);
  for (size_t i = 0; i < e.comparisons.size(); ++i) {
    Value right = Evaluate(*e.operands[i + 1]);
    machine_.SetLine(e.line);
    if (!Holds(e.comparisons[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

bool ExpressionEvaluator::Holds(const std::string& op, const Value& left, const Value& right) {
  if (op == "==") return machine_.Equal(left, right);
  if (op == "!=") return !machine_.Equal(left, right);
  if (op == "in") return machine_.Contains(right, left);
  if (op == "not in") return !machine_.Contains(right, left);
  if (op == "<") return machine_.Less(left, right);
  if (op == ">") return machine_.Less(right, left);
  if (op == "<=") return machine_.Less(left, right) || machine_.Equal(left, right);
  return machine_.Less(right, left) || machine_.Equal(left, right);
}

}  // namespace kvfold::jinja
