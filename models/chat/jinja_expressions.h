// models/chat/jinja_expressions.h: the values of a template's expressions, in the scope where it
// stands.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/chat/jinja_ast.h"
#include "models/chat/jinja_machine.h"
#include "models/chat/jinja_scope.h"
#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

class ExpressionEvaluator {
 public:
  ExpressionEvaluator(uint64_t most_work, ScopePtr scope)
      : machine_(most_work), scope_(std::move(scope)) {}
  ExpressionEvaluator(const ExpressionEvaluator&) = delete;
  ExpressionEvaluator& operator=(const ExpressionEvaluator&) = delete;

 protected:
  // Calls, statements and operators within each other: each takes some of the stack.
  static constexpr int kMostNesting = 600;
  struct Nesting {  // counts one level while it lives
    explicit Nesting(ExpressionEvaluator& evaluator) : depth(evaluator.nesting_) {
      if (depth >= kMostNesting) evaluator.machine_.Refuse("calls within calls too deep");
      ++depth;
    }
    ~Nesting() { --depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    int& depth;
  };

  Value Evaluate(const Expression& e);
  std::vector<Value> All(const std::vector<ExpressionPtr>& expressions);
  Value Lookup(const std::string& name);
  Value Dictionary(const Expression& e);
  void RefuseNamespaceInCondition(const Value& value);
  Value AttributeOf(const Expression& e);
  Value ItemOf(const Expression& e);
  Value SliceOf(const Expression& e);
  Arguments ArgumentsOf(const CallArguments& given);
  // `caller`: the body of a call block, or null.
  Value Call(const Expression& e, const Value* caller);
  // The value of a filter; `text`: what the innermost one of a block is applied to.
  Value FilterOf(const Expression& e, const Value* text);
  Value Binary(const Expression& e);
  // a < b < c: each is evaluated once, up to the first that does not hold.
  bool Compare(const Expression& e);
  bool Holds(const std::string& op, const Value& left, const Value& right);

  Machine machine_;
  Scope globals_;  // what the environment defines, behind all that a template is given or sets
  ScopePtr scope_;
  int nesting_ = 0;
  int in_condition_ = 0;  // of a loop: Jinja asks for it when an item's turn comes
};

}  // namespace kvfold::jinja
