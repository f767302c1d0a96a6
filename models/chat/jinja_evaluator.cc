#include "models/chat/jinja_evaluator.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <utility>
#include <variant>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {
namespace {

constexpr uint64_t kMostWork =
    1 << 24;  // statements, operands and bytes, beside 64 times the conversation's bytes

struct Undefined {};
struct None {};
struct Loop {
  int64_t index0 = 0;
  int64_t length = 0;
};
struct Function {
  std::string_view name;
};
using Messages = std::span<const ChatMessage>;
using Value = std::variant<Undefined, None, bool, int64_t, std::string, Messages,
                           const ChatMessage*, Loop, Function>;
using Kind = Expression::Kind;

bool IsTrue(const Value& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b;
  if (const auto* i = std::get_if<int64_t>(&value)) return *i != 0;
  if (const auto* s = std::get_if<std::string>(&value)) return !s->empty();
  if (const auto* m = std::get_if<Messages>(&value)) return !m->empty();
  return !std::holds_alternative<Undefined>(value) && !std::holds_alternative<None>(value);
}

std::string Now(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 256> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format.c_str(), &local)};
}

class Evaluator {
 public:
  Evaluator(Messages messages, const std::string& bos_token) : work_left_(kMostWork) {
    for (const ChatMessage& message : messages) work_left_ += 64 * message.content.size();
    scopes_.emplace_back();
    scopes_[0] = {{"messages", messages},
                  {"bos_token", bos_token},
                  {"add_generation_prompt", true},
                  {"tools", None{}},
                  {"documents", None{}},
                  {"strftime_now", Function{"strftime_now"}},
                  {"raise_exception", Function{"raise_exception"}},
                  {"true", true},
                  {"True", true},
                  {"false", false},
                  {"False", false},
                  {"none", None{}},
                  {"None", None{}}};
  }

  std::string Run(const std::vector<Statement>& statements) {
    Execute(statements);
    return std::move(out_);
  }

 private:
  [[noreturn]] static void Refuse(const Expression& at, std::string_view what) {
    throw InputError(fmt::format("line {} has {}, which is not supported", at.line, what));
  }
  void Work(uint64_t amount, int64_t line) {
    if (amount > work_left_) {
      throw InputError(
          fmt::format("line {} is reached with more work than a template takes", line));
    }
    work_left_ -= amount;
  }

  void Execute(const std::vector<Statement>& statements) {
    for (const Statement& statement : statements) {
      Work(1, statement.line);
      switch (statement.kind) {
        case Statement::Kind::kText:
          Put(statement.text, statement.line);
          break;
        case Statement::Kind::kPrint:
          Put(Printed(Evaluate(*statement.expression), *statement.expression), statement.line);
          break;
        case Statement::Kind::kIf:
          Execute(IsTrue(Evaluate(*statement.expression)) ? statement.body : statement.else_body);
          break;
        case Statement::Kind::kSet:
          scopes_.back()[statement.text] = Evaluate(*statement.expression);
          break;
        case Statement::Kind::kFor:
          For(statement);
          break;
      }
    }
  }

  void For(const Statement& statement) {
    const Value list = Evaluate(*statement.expression);
    const auto* messages = std::get_if<Messages>(&list);
    if (messages == nullptr || statement.text.find(',') != std::string::npos) {
      Refuse(*statement.expression, "a loop over something other than messages");
    }
    Loop loop{0, static_cast<int64_t>(messages->size())};
    for (; loop.index0 < loop.length; ++loop.index0) {
      scopes_.push_back(
          {{statement.text, &(*messages)[static_cast<size_t>(loop.index0)]}, {"loop", loop}});
      Execute(statement.body);
      scopes_.pop_back();
    }
  }

  void Put(const std::string& text, int64_t line) {
    Work(text.size(), line);
    out_ += text;
  }

  static std::string Printed(const Value& value, const Expression& at) {
    if (const auto* s = std::get_if<std::string>(&value)) return *s;
    if (const auto* i = std::get_if<int64_t>(&value)) return std::to_string(*i);
    if (std::holds_alternative<Undefined>(value)) return "";
    Refuse(at, "a value that is printed and is no text");
  }

  Value Evaluate(const Expression& e) {
    Work(1, e.line);
    switch (e.kind) {
      case Kind::kString:
        return e.text;
      case Kind::kInteger:
        return e.integer;
      case Kind::kName:
        return Lookup(e);
      case Kind::kAttribute:
        return Attribute(Evaluate(*e.operands[0]), e.text, e);
      case Kind::kItem:
        return Item(e);
      case Kind::kSlice:
        return Slice(e);
      case Kind::kCall:
        return Call(e);
      case Kind::kFilter:
        return Filter(e);
      case Kind::kTest:
        return Test(e);
      case Kind::kUnary:
        return Unary(e);
      case Kind::kBinary:
        return Binary(e);
      case Kind::kChoice:
        if (IsTrue(Evaluate(*e.operands[1]))) return Evaluate(*e.operands[0]);
        return e.operands[2] == nullptr ? Value(Undefined{}) : Evaluate(*e.operands[2]);
      case Kind::kOther:
        break;
    }
    Refuse(e, e.text);
  }

  // A text that is copied is work too, some 16 bytes as much as an operand.
  const std::string& Copied(const std::string& text, int64_t line) {
    Work(text.size() / 16, line);
    return text;
  }

  Value Lookup(const Expression& e) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(e.text);
      if (found == scope->end()) continue;
      if (const auto* text = std::get_if<std::string>(&found->second)) Copied(*text, e.line);
      return found->second;
    }
    // What transformers or Jinja define and this program does not.
    for (const std::string_view other :
         {"eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token", "range",
          "dict", "lipsum", "cycler", "joiner", "namespace", "self", "loop"}) {
      if (e.text == other) Refuse(e, e.text);
    }
    return Undefined{};
  }

  Value Attribute(const Value& value, const std::string& name, const Expression& e) {
    if (const auto* message = std::get_if<const ChatMessage*>(&value)) {
      if (name == "role") return (*message)->role;
      if (name == "content") return Copied((*message)->content, e.line);
      for (const std::string_view method : {"get", "items", "keys", "values", "pop", "update",
                                            "copy", "clear", "setdefault", "popitem", "fromkeys"}) {
        if (name == method) Refuse(e, "the method " + name);
      }
      return Undefined{};
    }
    if (const auto* loop = std::get_if<Loop>(&value)) {
      if (name == "first") return loop->index0 == 0;
      if (name == "last") return loop->index0 + 1 == loop->length;
      if (name == "index0") return loop->index0;
      if (name == "index") return loop->index0 + 1;
      if (name == "length") return loop->length;
    }
    Refuse(e, "the attribute " + Quoted(name) + " of what has none");
  }

  Value Item(const Expression& e) {
    const Value value = Evaluate(*e.operands[0]);
    const Value key = Evaluate(*e.operands[1]);
    if (const auto* name = std::get_if<std::string>(&key)) {
      return Attribute(value, *name, e);
    } else if (const auto* index = std::get_if<int64_t>(&key)) {
      if (const auto* list = std::get_if<Messages>(&value)) {
        const auto size = static_cast<int64_t>(list->size());
        const int64_t at = *index < 0 ? *index + size : *index;
        return at >= 0 && at < size ? Value(&(*list)[static_cast<size_t>(at)]) : Value(Undefined{});
      }
    }
    Refuse(e, "an item of what has none");
  }

  Value Slice(const Expression& e) {
    const Value value = Evaluate(*e.operands[0]);
    const auto* list = std::get_if<Messages>(&value);
    if (list == nullptr) Refuse(e, "a slice of something other than messages");
    const auto size = static_cast<int64_t>(list->size());
    const auto bound = [&](const ExpressionPtr& operand, int64_t fallback) {
      if (operand == nullptr) return fallback;
      const Value given = Evaluate(*operand);
      const auto* index = std::get_if<int64_t>(&given);
      if (index == nullptr) Refuse(e, "a slice that is not bounded by numbers");
      return std::clamp<int64_t>(*index < 0 ? *index + size : *index, 0, size);
    };
    const int64_t first = bound(e.operands[1], 0);
    const int64_t last = std::max(first, bound(e.operands[2], size));
    return list->subspan(static_cast<size_t>(first), static_cast<size_t>(last - first));
  }

  Value Call(const Expression& e) {
    const Value callee = Evaluate(*e.operands[0]);
    const auto* function = std::get_if<Function>(&callee);
    if (function == nullptr || e.operands.size() != 2) Refuse(e, "a call of something unknown");
    const Value argument = Evaluate(*e.operands[1]);
    const auto* text = std::get_if<std::string>(&argument);
    if (text == nullptr) Refuse(e, "a call with something other than text");
    if (function->name == "raise_exception") {
      throw InputError(fmt::format("it says {}", Quoted(*text)));
    }
    return Now(*text);
  }

  Value Filter(const Expression& e) {
    const Value value = Evaluate(*e.operands[0]);
    if (e.operands.size() == 1) {
      if (const auto* text = std::get_if<std::string>(&value);
          text != nullptr && e.text == "trim") {
        return Trim(*text);
      }
      if (const auto* list = std::get_if<Messages>(&value);
          list != nullptr && (e.text == "length" || e.text == "count")) {
        return static_cast<int64_t>(list->size());
      }
    }
    Refuse(e, "the filter " + Quoted(e.text) + " here");
  }

  Value Test(const Expression& e) {
    const Value value = Evaluate(*e.operands[0]);
    if (e.text == "defined") return !std::holds_alternative<Undefined>(value);
    if (e.text == "undefined") return std::holds_alternative<Undefined>(value);
    if (e.text == "none") return std::holds_alternative<None>(value);
    if (e.text == "string") return std::holds_alternative<std::string>(value);
    if (e.text == "mapping") return std::holds_alternative<const ChatMessage*>(value);
    Refuse(e, "the test " + Quoted(e.text));
  }

  Value Unary(const Expression& e) {
    const Value value = Evaluate(*e.operands[0]);
    if (e.text == "not") return !IsTrue(value);
    int64_t negated = 0;
    if (const auto* i = std::get_if<int64_t>(&value);
        i != nullptr && !__builtin_sub_overflow(int64_t{0}, *i, &negated)) {
      return negated;
    }
    Refuse(e, "a '-' before something other than a number");
  }

  Value Binary(const Expression& e) {
    Value left = Evaluate(*e.operands[0]);
    if (e.text == "and") return IsTrue(left) ? Evaluate(*e.operands[1]) : left;
    if (e.text == "or") return IsTrue(left) ? left : Evaluate(*e.operands[1]);
    const Value right = Evaluate(*e.operands[1]);
    if (e.text == "==" || e.text == "!=") return Equal(left, right, e) == (e.text == "==");
    if (e.text == "in") {
      const auto* name = std::get_if<std::string>(&left);
      if (name == nullptr || !std::holds_alternative<const ChatMessage*>(right)) {
        Refuse(e, "an 'in' of something other than a message");
      }
      return *name == "role" || *name == "content";
    }
    auto* text = std::get_if<std::string>(&left);
    const auto* more = std::get_if<std::string>(&right);
    if (text != nullptr && more != nullptr && (e.text == "+" || e.text == "~")) {
      Work(text->size() + more->size(), e.line);
      return *text + *more;
    }
    const auto* a = std::get_if<int64_t>(&left);
    const auto* b = std::get_if<int64_t>(&right);
    if (a != nullptr && b != nullptr) {
      int64_t result = 0;
      if (e.text == "+" && !__builtin_add_overflow(*a, *b, &result)) return result;
      if (e.text == "-" && !__builtin_sub_overflow(*a, *b, &result)) return result;
      if (e.text == "%" && *a >= 0 && *b > 0) return *a % *b;
    }
    Refuse(e, "a '" + e.text + "' of these operands");
  }

  static bool Equal(const Value& left, const Value& right, const Expression& e) {
    if (left.index() != right.index()) {
      const auto plain = [](const Value& v) {
        return std::holds_alternative<std::string>(v) || std::holds_alternative<None>(v) ||
               std::holds_alternative<Undefined>(v);
      };
      if (plain(left) || plain(right)) return false;
      Refuse(e, "a comparison of unlike values");
    }
    if (const auto* s = std::get_if<std::string>(&left)) return *s == std::get<std::string>(right);
    if (const auto* i = std::get_if<int64_t>(&left)) return *i == std::get<int64_t>(right);
    if (const auto* b = std::get_if<bool>(&left)) return *b == std::get<bool>(right);
    if (std::holds_alternative<None>(left) || std::holds_alternative<Undefined>(left)) return true;
    Refuse(e, "a comparison of messages");
  }

  uint64_t work_left_;
  std::vector<std::map<std::string, Value>> scopes_;
  std::string out_;
};

}  // namespace

std::string Render(const std::vector<Statement>& statements, std::span<const ChatMessage> messages,
                   const std::string& bos_token) {
  return Evaluator(messages, bos_token).Run(statements);
}

std::string Trim(const std::string& text) {
  const auto is_space = [](char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); };
  size_t begin = 0, end = text.size();
  for (size_t next = begin; begin < end; begin = next) {
    if (!is_space(NextCodePoint(text, next))) break;
  }
  while (end > begin) {
    const size_t before = PreviousCodePoint(text, end);
    size_t behind = before;
    if (!is_space(NextCodePoint(text, behind))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

}  // namespace kvfold::jinja
