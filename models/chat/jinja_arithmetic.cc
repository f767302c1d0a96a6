#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/chat/jinja_machine.h"

namespace kvfold::jinja {

Value Machine::Negated(const Value& value) {
  int64_t i = 0;
  if (IsInteger(value, i)) return IntegerArithmetic("-", 0, i);
  if (const auto* d = value.If<double>()) return {-*d};
  Fail(fmt::format("a '-' before {}", TypeName(value)));
}

Value Machine::Arithmetic(std::string_view op, const Value& left, const Value& right) {
  if (IsNumber(left) && IsNumber(right)) {
    int64_t a = 0, b = 0;
    if (IsInteger(left, a) && IsInteger(right, b) && op != "/" && !(op == "**" && b < 0))
      return IntegerArithmetic(op, a, b);
    return FloatArithmetic(op, AsDouble(left), AsDouble(right));
  }
  if (op == "+" && left.Is<Text>() && right.Is<Text>()) {
    std::string text(TextOf(left, "what '+' joins"));
    text += TextOf(right, "what '+' joins");
    return NewText(std::move(text));
  }
  const auto *x = left.If<List>(), *y = right.If<List>();
  if (op == "+" && x != nullptr && y != nullptr && x->kind == y->kind &&
      (x->kind == List::Kind::kList || x->kind == List::Kind::kTuple)) {
    std::vector<Value> items = x->data->items;
    items.insert(items.end(), y->data->items.begin(), y->data->items.end());
    return NewList(std::move(items), x->kind);
  }
  if (op == "*") {
    int64_t times = 0;
    if (IsInteger(right, times)) return Repeated(left, times);
    if (IsInteger(left, times)) return Repeated(right, times);
  }
  if (op == "%" && left.Is<Text>()) Refuse("a '%' that formats text");
  for (const Value* side : {&left, &right}) {
    if (const auto* undefined = side->If<Undefined>(); undefined != nullptr && undefined->what)
      Fail(*undefined->what);
  }
  Fail(fmt::format("a '{}' of {} and {}", op, TypeName(left), TypeName(right)));
}

Value Machine::Repeated(const Value& value, int64_t times) {
  const auto n = static_cast<uint64_t>(std::max<int64_t>(0, times));
  const auto check = [&](uint64_t size) {  // before it is made
    uint64_t all = 0;
    if (__builtin_mul_overflow(size, n, &all)) all = ~uint64_t{0};
    Work(all);
  };
  if (value.Is<Text>()) {
    const std::string_view text = TextOf(value, "what '*' repeats");
    check(text.size() + 1);
    std::string all;
    for (uint64_t i = 0; i < n; ++i) all += text;
    return MakeText(std::move(all));
  }
  const auto* list = value.If<List>();
  if (list == nullptr || (list->kind != List::Kind::kList && list->kind != List::Kind::kTuple))
    Fail(fmt::format("a '*' of {}", TypeName(value)));
  check((list->data->items.size() + 1) * kItemWork);
  std::vector<Value> items;
  for (uint64_t i = 0; i < n; ++i)
    items.insert(items.end(), list->data->items.begin(), list->data->items.end());
  return NewList(std::move(items), list->kind);
}

Value Machine::IntegerArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool fits = true;
  if (op == "+") {
    fits = !__builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    fits = !__builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    fits = !__builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    result = 1;
    for (int64_t i = 0; i < b && fits && (i < 64 || (result > 1 || result < -1)); ++i)
      fits = !__builtin_mul_overflow(result, a, &result);
    if (fits && a == -1) result = b % 2 == 0 ? 1 : -1;
  } else {
    if (b == 0) Fail("a division by 0");
    fits = !(b == -1 && a == INT64_MIN);
    if (fits) {
      const int64_t quotient = a / b, rest = a % b;
      const bool down = rest != 0 && (rest < 0) != (b < 0);  // Python rounds down
      result = op == "//" ? quotient - (down ? 1 : 0) : rest + (down ? b : 0);
    }
  }
  if (!fits) Refuse(fmt::format("a '{}' whose result is beyond 64 bits", op));
  return {result};
}

Value Machine::FloatArithmetic(std::string_view op, double a, double b) {
  if (op == "+") return {a + b};
  if (op == "-") return {a - b};
  if (op == "*") return {a * b};
  if (op == "**") {
    const double result = std::pow(a, b);
    if (!std::isfinite(result)) Refuse("a '**' without a finite result");
    return {result};
  }
  if (b == 0.0) Fail("a division by 0");
  if (op == "/") return {a / b};
  double rest = std::fmod(a, b);
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) rest += b;
  if (op == "%") return {rest == 0.0 ? std::copysign(0.0, b) : rest};
  return {std::floor((a - rest) / b + 0.5)};
}

}  // namespace kvfold::jinja
