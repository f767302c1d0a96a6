#include "models/chat/jinja_evaluator.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "comm/error.h"
#include "models/chat/jinja_expressions.h"
#include "models/chat/jinja_globals.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

constexpr uint64_t kMostWork =
    1 << 24;  // as Machine::Work counts it, beside 64 times the conversation's bytes

class Evaluator : public ExpressionEvaluator {
 public:
  Evaluator(std::span<const ChatMessage> messages, const ChatVariables& variables)
      : ExpressionEvaluator(Budget(messages), std::make_shared<Scope>()) {
    std::vector<Value> list;
    for (const ChatMessage& message : messages) {
      list.push_back(MakeDict({{MakeText("role"), MakeText(message.role)},
                               {MakeText("content"), MakeText(message.content)}}));
    }
    scope_->names = {{"messages", MakeList(std::move(list))},
                     {"tools", {None{}}},
                     {"documents", {None{}}},
                     {"add_generation_prompt", {true}}};
    for (const auto& [name, text] : variables) scope_->Set(name, MakeText(text));
    AddGlobals(machine_, namespaces_, globals_);
  }
  ~Evaluator() {
    // What may hold itself: a macro is a name of the scope that it sees, a namespace may be its own
    // attribute.
    for (const ScopePtr& scope : with_macros_) scope->names.clear();
    for (const auto& data : namespaces_) data->attributes.clear();
  }
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  std::string Run(const std::vector<Statement>& statements) {
    Execute(statements);
    return std::move(out_);
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };
  using Kind = Expression::Kind;

  static uint64_t Budget(std::span<const ChatMessage> messages) {
    uint64_t work = kMostWork;
    for (const ChatMessage& message : messages) work += 64 * message.content.size();
    return work;
  }

  // Another scope while it lives.
  struct InScope {
    InScope(Evaluator& owner, ScopePtr inner)
        : evaluator(owner), outer(std::exchange(owner.scope_, std::move(inner))) {}
    ~InScope() { evaluator.scope_ = std::move(outer); }
    InScope(const InScope&) = delete;
    InScope& operator=(const InScope&) = delete;
    Evaluator& evaluator;
    ScopePtr outer;
  };
  ScopePtr Inner() {
    auto inner = std::make_shared<Scope>();
    inner->outer = scope_;
    return inner;
  }

  Flow Execute(const std::vector<Statement>& statements) {
    const Nesting nesting(*this);
    for (const Statement& statement : statements) {
      machine_.SetLine(statement.line);
      machine_.Work(1);
      const Flow flow = Execute(statement);
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  Flow Execute(const Statement& statement) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        Put(statement.text);
        break;
      case Statement::Kind::kPrint:
        Put(machine_.Str(Evaluate(*statement.expression)));
        break;
      case Statement::Kind::kIf:
        return Execute(IsTrue(Evaluate(*statement.expression)) ? statement.body
                                                               : statement.else_body);
      case Statement::Kind::kFor:
        return For(statement);
      case Statement::Kind::kSet:
        Assign(*statement.target, Evaluate(*statement.expression));
        break;
      case Statement::Kind::kSetBlock:
        Assign(*statement.target, Filtered(statement, Captured(statement.body, Inner())));
        break;
      case Statement::Kind::kFilter:
        Put(machine_.Str(Filtered(statement, Captured(statement.body, Inner()))));
        break;
      case Statement::Kind::kMacro:
        scope_->Set(statement.text, Macro(statement, statement.text));
        break;
      case Statement::Kind::kCall: {
        const Value caller = Macro(statement, "caller");
        Put(machine_.Str(Call(*statement.expression, &caller)));
        break;
      }
      case Statement::Kind::kScope: {
        ScopePtr inner = Inner();
        for (const auto& [name, value] : statement.assigned) inner->Set(name, Evaluate(*value));
        const InScope in_scope(*this, std::move(inner));
        return Execute(statement.body);
      }
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  void Put(std::string_view text) {
    machine_.Work(text.size());
    out_ += text;
  }

  // What `body` writes.
  std::string Captured(const std::vector<Statement>& body, ScopePtr scope) {
    const InScope in_scope(*this, std::move(scope));
    std::string outer = std::exchange(out_, {});
    Execute(body);
    return std::exchange(out_, std::move(outer));
  }
  Value Filtered(const Statement& statement, std::string text) {
    Value value = MakeText(std::move(text));
    return statement.expression == nullptr ? value : FilterOf(*statement.expression, &value);
  }

  Flow For(const Statement& statement) {
    const Value list = Evaluate(*statement.expression);
    if (!Machine::IsIterable(list)) machine_.Fail(fmt::format("a loop over {}", TypeName(list)));
    auto loop = std::make_shared<LoopState>();
    loop->items = machine_.Items(list);
    if (statement.condition != nullptr) {
      // Jinja asks for each item when its turn comes: a namespace could have changed by then.
      ++in_condition_;
      std::erase_if(loop->items, [&](const Value& item) {
        const InScope in_scope(*this, Inner());
        Assign(*statement.target, item);
        return !IsTrue(Evaluate(*statement.condition));
      });
      --in_condition_;
    }
    for (const Value& item : loop->items) loop->depth = std::max(loop->depth, Depth(item) + 1);
    if (loop->depth > kMostDepth) machine_.Refuse("loops over loops too deep");
    const auto length = static_cast<int64_t>(loop->items.size());
    for (; loop->index0 < length; ++loop->index0) {
      machine_.Work(4);
      const InScope in_scope(*this, Inner());
      scope_->Set("loop", {Loop{loop}});
      Assign(*statement.target, loop->items[static_cast<size_t>(loop->index0)]);
      if (Execute(statement.body) == Flow::kBreak) return Flow::kOn;
    }
    if (length != 0) return Flow::kOn;
    const InScope in_scope(*this, Inner());
    return Execute(statement.else_body);
  }

  void Assign(const Expression& target, const Value& value) {
    if (target.kind == Kind::kName) {
      scope_->Set(target.text, value);
    } else if (target.kind == Kind::kAttribute) {
      const Value object = Evaluate(*target.operands[0]);
      const auto* ns = object.If<Namespace>();
      if (ns == nullptr) machine_.Fail("only a namespace's attributes can be set");
      SetAttribute(machine_, *ns->data, target.text, value);
    } else {
      const std::vector<Value> items = machine_.Items(value);
      if (items.size() != target.operands.size()) {
        machine_.Fail(
            fmt::format("{} names are set to {} values", target.operands.size(), items.size()));
      }
      for (size_t i = 0; i < items.size(); ++i) Assign(*target.operands[i], items[i]);
    }
  }
  // A macro, or the body of a call block as one: it sees the names that are known where it stands.
  Value Macro(const Statement& statement, const std::string& name) {
    machine_.Work(64);  // its scope is kept until the end
    if (with_macros_.empty() || with_macros_.back() != scope_) with_macros_.push_back(scope_);
    return machine_.NewFunction(name, {None{}},
                                [this, &statement, name, scope = scope_](const Arguments& given) {
                                  return CallMacro(statement, name, scope, given);
                                });
  }

  Value CallMacro(const Statement& macro, const std::string& name, const ScopePtr& outer,
                  const Arguments& given) {
    const Nesting nesting(*this);
    const Signature& signature = macro.signature;
    auto scope = std::make_shared<Scope>();
    scope->outer = outer;
    std::vector<const Value*> bound(signature.names.size());
    std::vector<Value> more;
    std::vector<std::pair<Value, Value>> more_named;
    for (size_t i = 0; i < given.positional.size(); ++i) {
      if (i < bound.size()) {
        bound[i] = &given.positional[i];
      } else {
        more.push_back(given.positional[i]);
      }
    }
    for (const auto& [key, value] : given.named) {
      const auto found = std::ranges::find(signature.names, key);
      if (found != signature.names.end()) {
        const Value*& slot = bound[static_cast<size_t>(found - signature.names.begin())];
        if (slot != nullptr)
          machine_.Fail(fmt::format("{} is given its argument {} twice", name, Quoted(key)));
        slot = &value;
      } else if (key == "caller" && macro.special_names.caller) {
        scope->Set(key, value);
      } else {
        more_named.emplace_back(MakeText(key), value);
      }
    }
    const bool call_block = macro.kind == Statement::Kind::kCall;
    if (!more.empty() && !macro.special_names.varargs)
      machine_.Fail(fmt::format("{} takes {} arguments, not {}", name, bound.size(),
                                given.positional.size()));
    if (!more_named.empty() && !macro.special_names.kwargs)
      machine_.Fail(
          fmt::format("{} has no argument {}", name, machine_.Repr(more_named.front().first)));
    if (!call_block) {
      if (macro.special_names.varargs)
        scope->Set("varargs", machine_.NewList(std::move(more), List::Kind::kTuple));
      if (macro.special_names.kwargs) scope->Set("kwargs", machine_.NewDict(std::move(more_named)));
      if (macro.special_names.caller && scope->Find("caller") == nullptr)
        scope->Set("caller", MakeUndefined("No caller defined"));
    }
    const InScope in_scope(*this, scope);
    for (size_t i = 0; i < bound.size(); ++i) {
      const std::string& parameter = signature.names[i];
      if (bound[i] != nullptr) {
        scope_->Set(parameter, *bound[i]);
      } else if (signature.defaults[i] != nullptr) {
        scope_->Set(parameter, Evaluate(*signature.defaults[i]));
      } else {
        scope_->Set(parameter,
                    MakeUndefined(fmt::format("parameter {} was not provided", Quoted(parameter))));
      }
    }
    std::string outer_text = std::exchange(out_, {});
    Execute(macro.body);
    return MakeText(std::exchange(out_, std::move(outer_text)));
  }

  std::vector<ScopePtr> with_macros_;
  Namespaces namespaces_;
  std::string out_;
};

}  // namespace

std::string Render(const std::vector<Statement>& statements, std::span<const ChatMessage> messages,
                   const ChatVariables& variables) {
  return Evaluator(messages, variables).Run(statements);
}

}  // namespace kvfold::jinja
