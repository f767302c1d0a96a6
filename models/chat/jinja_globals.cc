#include "models/chat/jinja_globals.h"

#include <array>
#include <ctime>
#include <utility>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

std::string Now(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 256> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format.c_str(), &local)};
}

Value RaiseException(Machine& machine, const Arguments& arguments) {
  const auto bound = Bind(machine, "raise_exception", arguments, {"message"});
  throw InputError(
      fmt::format("it says {}", Quoted(bound[0] == nullptr ? "" : machine.Str(*bound[0]))));
}

Value StrftimeNow(Machine& machine, const Arguments& arguments) {
  const auto bound = Bind(machine, "strftime_now", arguments, {"format"});
  if (bound[0] == nullptr) machine.Fail("strftime_now needs a format");
  return machine.NewText(Now(std::string(machine.TextOf(*bound[0], "a format of the date"))));
}

Value MakeNamespace(Machine& machine, Namespaces& namespaces, const Arguments& arguments) {
  if (!arguments.positional.empty()) machine.Refuse("a namespace of a mapping");
  machine.Work(64);
  auto data = std::make_shared<NamespaceData>();
  for (const auto& [name, value] : arguments.named) SetAttribute(machine, *data, name, value);
  namespaces.push_back(data);
  return {Namespace{std::move(data)}};
}

Value MakeDictionary(Machine& machine, const Arguments& arguments) {
  if (!arguments.positional.empty()) machine.Refuse("a dict of a mapping or a list");
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, value] : arguments.named) entries.emplace_back(MakeText(name), value);
  return machine.NewDict(std::move(entries));
}

Value Range(Machine& machine, const Arguments& arguments) {
  const auto bound = Bind(machine, "range", arguments, {"first", "last", "step"});
  if (bound[0] == nullptr || !arguments.named.empty()) machine.Fail("range needs a number");
  int64_t first = machine.IntegerOf(*bound[0], "a range's end"), last = first;
  if (bound[1] == nullptr) {
    first = 0;
  } else {
    last = machine.IntegerOf(*bound[1], "a range's end");
  }
  const int64_t step = bound[2] == nullptr ? 1 : machine.IntegerOf(*bound[2], "a range's step");
  if (step == 0) machine.Fail("a range's step is 0");
  std::vector<Value> items;
  for (int64_t at = first; step > 0 ? at < last : at > last;) {
    machine.Work(Machine::kItemWork);
    if (items.size() >= 100'000) machine.Refuse("a range of more than 100000 items");
    items.push_back({at});
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return machine.NewList(std::move(items), List::Kind::kRange);
}

}  // namespace

void SetAttribute(Machine& machine, NamespaceData& data, const std::string& name,
                  const Value& value) {
  if (name.starts_with('_')) machine.Refuse("the attribute " + Quoted(name));
  machine.Work(data.attributes.size() / 8);
  for (auto& [other, old] : data.attributes) {
    if (other != name) continue;
    old = value;
    return;
  }
  data.attributes.emplace_back(name, value);
}

void AddGlobals(Machine& machine, Namespaces& namespaces, Scope& globals) {
  const auto add = [&](const char* name, Value (*call)(Machine&, const Arguments&)) {
    globals.Set(name, machine.NewFunction(name, {None{}}, [&machine, call](const Arguments& given) {
      return call(machine, given);
    }));
  };
  add("raise_exception", RaiseException);
  add("strftime_now", StrftimeNow);
  add("dict", MakeDictionary);
  add("range", Range);
  globals.Set("namespace", machine.NewFunction("namespace", {None{}},
                                               [&machine, &namespaces](const Arguments& given) {
                                                 return MakeNamespace(machine, namespaces, given);
                                               }));
}

}  // namespace kvfold::jinja
