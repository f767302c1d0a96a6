#include <fmt/format.h>

#include <array>

#include "models/chat/jinja_filters.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

const Value& Other(Machine& machine, std::string_view name, const Arguments& arguments) {
  const auto bound = Bind(machine, name, arguments, {"other"});
  if (bound[0] == nullptr) machine.Fail(fmt::format("the test {} needs a value", Quoted(name)));
  return *bound[0];
}

bool IsSequence(const Value& value) {
  const auto* list = value.If<List>();
  if (list != nullptr)
    return list->kind != List::Kind::kView && list->kind != List::Kind::kIterator;
  return value.Is<Text>() || value.Is<Dict>() || value.Is<Undefined>();
}

// Whether all letters are of one case, and there is one.
bool IsOfCase(Machine& machine, const Value& value, bool upper) {
  const std::string text = machine.Str(value);
  if (!IsAscii(text)) machine.Refuse("a test of the case of text beyond ASCII");
  return upper ? text == Upper(text) && text != Lower(text)
               : text == Lower(text) && text != Upper(text);
}

int64_t Remainder(Machine& machine, const Value& value, const Value& by) {
  return machine.IntegerOf(machine.Arithmetic("%", value, by), "what is divided");
}

}  // namespace

bool ApplyTest(Machine& machine, std::string_view name, const Value& value,
               const Arguments& arguments) {
  if (name == "in") return machine.Contains(Other(machine, name, arguments), value);
  for (const std::string_view same : {"==", "eq", "equalto"}) {
    if (name == same) return machine.Equal(value, Other(machine, name, arguments));
  }
  for (const std::string_view same : {"!=", "ne"}) {
    if (name == same) return !machine.Equal(value, Other(machine, name, arguments));
  }
  for (const std::string_view same : {"<", "lt", "lessthan"}) {
    if (name == same) return machine.Less(value, Other(machine, name, arguments));
  }
  for (const std::string_view same : {">", "gt", "greaterthan"}) {
    if (name == same) return machine.Less(Other(machine, name, arguments), value);
  }
  if (name == "<=" || name == "le") {
    const Value& other = Other(machine, name, arguments);
    return machine.Less(value, other) || machine.Equal(value, other);
  }
  if (name == ">=" || name == "ge") {
    const Value& other = Other(machine, name, arguments);
    return machine.Less(other, value) || machine.Equal(value, other);
  }
  if (name == "divisibleby") return Remainder(machine, value, Other(machine, name, arguments)) == 0;
  if (name == "sameas") {
    const Value& other = Other(machine, name, arguments);
    if (value.Is<None>() || other.Is<None>()) return value.Is<None>() && other.Is<None>();
    if (value.Is<bool>() || other.Is<bool>())
      return value.Is<bool>() && other.Is<bool>() && *value.If<bool>() == *other.If<bool>();
    machine.Refuse("the test \"sameas\" of other values than truth values and none");
  }
  Bind(machine, name, arguments, {});
  if (name == "defined") return !value.Is<Undefined>();
  if (name == "undefined") return value.Is<Undefined>();
  if (name == "none") return value.Is<None>();
  if (name == "string") return value.Is<Text>();
  if (name == "mapping") return value.Is<Dict>();
  if (name == "iterable") return Machine::IsIterable(value);
  if (name == "sequence") return IsSequence(value);
  if (name == "number") return IsNumber(value);
  if (name == "integer") return value.Is<int64_t>();
  if (name == "float") return value.Is<double>();
  if (name == "boolean") return value.Is<bool>();
  if (name == "true") return value.Is<bool>() && *value.If<bool>();
  if (name == "false") return value.Is<bool>() && !*value.If<bool>();
  if (name == "callable") return value.Is<Callable>() || value.Is<Undefined>() || value.Is<Loop>();
  if (name == "odd") return Remainder(machine, value, {int64_t{2}}) == 1;
  if (name == "even") return Remainder(machine, value, {int64_t{2}}) == 0;
  if (name == "upper" || name == "lower") return IsOfCase(machine, value, name == "upper");
  machine.Refuse(fmt::format("the test {}", Quoted(name)));
}

}  // namespace kvfold::jinja
