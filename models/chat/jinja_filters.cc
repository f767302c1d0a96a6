#include "models/chat/jinja_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "models/chat/jinja_methods.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

using Filter = Value (*)(Machine&, const Value&, const Arguments&);

bool Given(const Value* argument) { return argument != nullptr && !argument->Is<None>(); }
bool Flag(const Value* argument) { return argument != nullptr && IsTrue(*argument); }

// What most filters of text begin with: the value as text, whatever it is.
Value Soft(Machine& machine, const Value& value) {
  const auto* text = value.If<Text>();
  return text != nullptr ? value : MakeText(machine.Str(value));
}

// "a.b.0" of an item, or one whole number.
Value AttributePath(Machine& machine, Value item, const Value& path,
                    const Value* fallback = nullptr) {
  const auto step = [&](const Value& key) {
    item = machine.Item(item, key);
    if (fallback != nullptr && item.Is<Undefined>()) item = *fallback;
  };
  if (!path.Is<Text>()) {
    step({machine.IntegerOf(path, "an attribute's name")});
    return item;
  }
  for (const std::string_view part : Split(machine.TextOf(path, "an attribute's name"), ".", -1)) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        error == std::errc() && end == part.data() + part.size() && !part.starts_with('-');
    step(is_index ? Value{index} : MakeText(std::string(part)));
  }
  return item;
}

// What items are compared by: an attribute of theirs, letters of either case alike.
Value Key(Machine& machine, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = Given(attribute) ? AttributePath(machine, item, *attribute) : item;
  if (!case_sensitive && key.Is<Text>()) key = machine.NewText(Lower(*key.If<Text>()->bytes));
  return key;
}

template <bool soft>
Value CallMethod(Machine& machine, const Value& value, const Arguments& arguments,
                 std::string_view method) {
  const Value text = soft ? Soft(machine, value) : value;
  return FindMethod(machine, text, method)->If<Callable>()->data->call(arguments);
}
Value Trim(Machine& machine, const Value& value, const Arguments& arguments) {
  return CallMethod<true>(machine, value, arguments, "strip");
}
Value UpperFilter(Machine& machine, const Value& value, const Arguments& arguments) {
  return CallMethod<true>(machine, value, arguments, "upper");
}
Value LowerFilter(Machine& machine, const Value& value, const Arguments& arguments) {
  return CallMethod<true>(machine, value, arguments, "lower");
}
Value Capitalize(Machine& machine, const Value& value, const Arguments& arguments) {
  return CallMethod<true>(machine, value, arguments, "capitalize");
}
Value Title(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "title", arguments, {});
  const std::string text = machine.Str(value);
  if (!IsAscii(text)) machine.Refuse("a title of text beyond ASCII");
  return machine.NewText(TitleFiltered(text));
}
Value Replace(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "replace", arguments, {"old", "new", "count"});
  if (bound[0] == nullptr || bound[1] == nullptr) machine.Fail("replace needs two texts");
  Arguments texts{{MakeText(machine.Str(*bound[0])), MakeText(machine.Str(*bound[1]))}, {}};
  if (Given(bound[2])) texts.positional.push_back(*bound[2]);
  return CallMethod<true>(machine, value, texts, "replace");
}

Value String(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "string", arguments, {});
  return Soft(machine, value);
}
Value Safe(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "safe", arguments, {});
  return {Text{std::make_shared<const std::string>(machine.Str(value)), /*safe=*/true}};
}

Value Indent(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "indent", arguments, {"width", "first", "blank"});
  const std::string_view text = machine.TextOf(value, "what is indented");
  std::string indent(4, ' ');
  if (bound[0] != nullptr && bound[0]->Is<Text>()) {
    indent = machine.TextOf(*bound[0], "an indent");
  } else if (bound[0] != nullptr) {
    const int64_t width = machine.IntegerOf(*bound[0], "an indent's width");
    if (width > 1000) machine.Refuse(fmt::format("an indent of {}", width));
    indent.assign(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
  }
  const bool blank = Flag(bound[2]);
  const std::string whole = std::string(text) + "\n";  // a line end at the end stays
  std::string out = Flag(bound[1]) ? indent : "";
  const std::vector<std::string_view> lines = SplitLines(whole, /*keep_ends=*/false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indent;
    out += lines[i];
    machine.Work(lines[i].size() + indent.size());
  }
  return MakeText(std::move(out));
}

Value Default(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "default", arguments, {"default_value", "boolean"});
  if (!value.Is<Undefined>() && !(Flag(bound[1]) && !IsTrue(value))) return value;
  return bound[0] == nullptr ? MakeText("") : *bound[0];
}

Value Length(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "length", arguments, {});
  return {machine.Length(value)};
}

Value First(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "first", arguments, {});
  const auto* list = value.If<List>();
  if (list != nullptr && list->progress != nullptr && *list->progress == Progress::kFresh &&
      !list->data->items.empty()) {
    *list->progress = Progress::kBegun;
    return list->data->items.front();
  }
  const std::vector<Value> items = machine.Items(value);
  return items.empty() ? MakeUndefined("there is no first item") : items.front();
}

Value Last(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "last", arguments, {});
  const auto* list = value.If<List>();
  if (list != nullptr && list->progress != nullptr) machine.Fail("an iterator has no last item");
  const std::vector<Value> items = machine.Items(value);
  return items.empty() ? MakeUndefined("there is no last item") : items.back();
}

Value ToList(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "list", arguments, {});
  return machine.NewList(machine.Items(value));
}

Value Reverse(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "reverse", arguments, {});
  if (value.Is<Text>()) {
    const Value back{int64_t{-1}};
    return machine.Slice(value, nullptr, nullptr, &back);
  }
  const auto* list = value.If<List>();
  const bool is_list = list != nullptr && list->progress != nullptr;
  std::vector<Value> items = machine.Items(value);
  std::ranges::reverse(items);
  return machine.NewList(std::move(items), is_list ? List::Kind::kList : List::Kind::kIterator);
}

Value Join(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "join", arguments, {"d", "attribute"});
  const std::string separator = bound[0] == nullptr ? "" : machine.Str(*bound[0]);
  std::string out;
  bool first = true;
  for (const Value& item : machine.Items(value)) {
    const size_t before = out.size();
    if (!std::exchange(first, false)) out += separator;
    out += machine.Str(Given(bound[1]) ? AttributePath(machine, item, *bound[1]) : item);
    machine.Work(out.size() - before);
  }
  return MakeText(std::move(out));
}

Value ItemsFilter(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "items", arguments, {});
  std::vector<Value> items;
  if (const auto* dict = value.If<Dict>()) {
    for (const auto& [key, item] : dict->data->entries)
      items.push_back(machine.NewList({key, item}, List::Kind::kTuple));
  } else if (!value.Is<Undefined>()) {
    machine.Fail(fmt::format("{} has no items by key", TypeName(value)));
  }
  return machine.NewList(std::move(items), List::Kind::kIterator);
}

// Sorts by keys that were made before, stably in either direction.
void SortBy(Machine& machine, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  machine.Work(keyed.size() * 16);
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    return reverse ? machine.Less(b.first, a.first) : machine.Less(a.first, b.first);
  });
}

Value Sort(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  if (Given(bound[2]) && bound[2]->Is<Text>() &&
      machine.TextOf(*bound[2], "an attribute's name").find(',') != std::string_view::npos) {
    machine.Refuse("a sort by several attributes");
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : machine.Items(value))
    keyed.emplace_back(Key(machine, item, bound[2], Flag(bound[1])), item);
  SortBy(machine, keyed, Flag(bound[0]));
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return machine.NewList(std::move(items));
}

Value DictSort(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const auto* dict = value.If<Dict>();
  if (dict == nullptr) machine.Fail(fmt::format("a dictsort of {}", TypeName(value)));
  const std::string_view by =
      bound[1] == nullptr ? "key" : machine.TextOf(*bound[1], "what dictsort goes by");
  if (by != "key" && by != "value") machine.Fail("dictsort goes by key or value");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, item] : dict->data->entries) {
    keyed.emplace_back(Key(machine, by == "key" ? key : item, nullptr, Flag(bound[0])),
                       machine.NewList({key, item}, List::Kind::kTuple));
  }
  SortBy(machine, keyed, Flag(bound[2]));
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return machine.NewList(std::move(items));
}

Value Unique(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "unique", arguments, {"case_sensitive", "attribute"});
  std::vector<Value> seen, items;
  for (const Value& item : machine.Items(value)) {
    Value key = Key(machine, item, bound[1], Flag(bound[0]));
    if (!Machine::IsHashable(key))
      machine.Fail(fmt::format("{} cannot be told apart", TypeName(key)));
    if (std::ranges::any_of(seen, [&](const Value& other) { return machine.Equal(other, key); }))
      continue;
    seen.push_back(std::move(key));
    items.push_back(item);
  }
  return machine.NewList(std::move(items), List::Kind::kIterator);
}

template <bool largest>
Value Extreme(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "min and max", arguments, {"case_sensitive", "attribute"});
  std::optional<std::pair<Value, Value>> best;
  for (const Value& item : machine.Items(value)) {
    Value key = Key(machine, item, bound[1], Flag(bound[0]));
    const bool better = !best.has_value() ||
                        (largest ? machine.Less(best->first, key) : machine.Less(key, best->first));
    if (better) best.emplace(std::move(key), item);
  }
  return best.has_value() ? best->second : MakeUndefined("there is no item");
}

Value Sum(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "sum", arguments, {"attribute", "start"});
  Value sum = bound[1] == nullptr ? Value{int64_t{0}} : *bound[1];
  for (const Value& item : machine.Items(value)) {
    const Value part = Given(bound[0]) ? AttributePath(machine, item, *bound[0]) : item;
    if (part.Is<Text>()) machine.Fail("a sum of texts");
    sum = machine.Arithmetic("+", sum, part);
  }
  return sum;
}

Value Map(Machine& machine, const Value& value, const Arguments& arguments) {
  std::vector<Value> items;
  if (!IsTrue(value)) return machine.NewList({}, List::Kind::kIterator);
  if (arguments.positional.empty()) {
    const auto bound = Bind(machine, "map", arguments, {"attribute", "default"});
    if (bound[0] == nullptr) machine.Fail("map needs a filter or an attribute");
    const Value* const fallback = Given(bound[1]) ? bound[1] : nullptr;
    for (const Value& item : machine.Items(value))
      items.push_back(AttributePath(machine, item, *bound[0], fallback));
  } else {
    const std::string_view name = machine.TextOf(arguments.positional[0], "a filter's name");
    const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()},
                         arguments.named};
    for (const Value& item : machine.Items(value))
      items.push_back(ApplyFilter(machine, name, item, rest));
  }
  return machine.NewList(std::move(items), List::Kind::kIterator);
}

template <bool keeps, bool by_attribute>
Value Select(Machine& machine, const Value& value, const Arguments& arguments) {
  std::vector<Value> kept;
  if (!IsTrue(value)) return machine.NewList({}, List::Kind::kIterator);
  const std::vector<Value>& given = arguments.positional;
  const size_t n_own = by_attribute ? 1 : 0;
  if (given.size() < n_own) machine.Fail("selectattr and rejectattr need an attribute's name");
  const bool tests = given.size() > n_own;
  Arguments rest{{}, arguments.named};
  if (tests) rest.positional.assign(given.begin() + static_cast<int64_t>(n_own) + 1, given.end());
  for (const Value& item : machine.Items(value)) {
    const Value tested = by_attribute ? AttributePath(machine, item, given[0]) : item;
    const bool holds =
        tests ? ApplyTest(machine, machine.TextOf(given[n_own], "a test's name"), tested, rest)
              : IsTrue(tested);
    if (holds == keeps) kept.push_back(item);
  }
  return machine.NewList(std::move(kept), List::Kind::kIterator);
}

Value Absolute(Machine& machine, const Value& value, const Arguments& arguments) {
  Bind(machine, "abs", arguments, {});
  if (!IsNumber(value)) machine.Fail(fmt::format("an abs of {}", TypeName(value)));
  int64_t integer = 0;
  if (IsInteger(value, integer)) return integer < 0 ? machine.Negated(value) : Value{integer};
  return {std::abs(AsDouble(value))};
}

std::string_view WithoutPlus(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  return text;
}

// Python's int(text) and float(text), of decimal numbers.
std::optional<int64_t> ParseInteger(std::string_view text) {
  text = WithoutPlus(Stripped(text));
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}
std::optional<double> ParseFloat(std::string_view text) {
  text = WithoutPlus(Stripped(text));
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}
// What Python reads and this does not, beside text that is no number at all.
void RefuseOddNumbers(Machine& machine, std::string_view text) {
  if (text.size() > 18 || text.find('_') != std::string_view::npos || !IsAscii(text))
    machine.Refuse("the number " + Quoted(text));
}

Value ToInteger(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "int", arguments, {"default", "base"});
  if (bound[1] != nullptr) machine.Refuse("an int of another base");
  const Value fallback = bound[0] == nullptr ? Value{int64_t{0}} : *bound[0];
  if (int64_t integer = 0; IsInteger(value, integer)) return {integer};
  double number = 0.0;
  if (value.Is<Text>()) {
    const std::string_view text = machine.TextOf(value, "what becomes a number");
    RefuseOddNumbers(machine, text);
    if (const auto integer = ParseInteger(text)) return {*integer};
    const auto parsed = ParseFloat(text);
    if (!parsed.has_value() || !std::isfinite(*parsed)) return fallback;
    number = *parsed;
  } else if (value.Is<double>()) {
    number = AsDouble(value);
  } else if (value.Is<Undefined>()) {
    machine.Fail("an int of what is undefined");
  } else {
    return fallback;
  }
  if (std::isnan(number)) return fallback;
  if (std::isinf(number)) machine.Fail("an int of an infinite number");
  if (std::abs(number) >= 9e15) machine.Refuse("a number beyond 2^53 as an integer");
  return {static_cast<int64_t>(number)};
}

Value ToFloat(Machine& machine, const Value& value, const Arguments& arguments) {
  const auto bound = Bind(machine, "float", arguments, {"default"});
  const Value fallback = bound[0] == nullptr ? Value{0.0} : *bound[0];
  if (IsNumber(value)) return {AsDouble(value)};
  if (value.Is<Undefined>()) machine.Fail("a float of what is undefined");
  if (!value.Is<Text>()) return fallback;
  const std::string_view text = machine.TextOf(value, "what becomes a number");
  RefuseOddNumbers(machine, text);
  const auto number = ParseFloat(text);
  return number.has_value() ? Value{*number} : fallback;
}

constexpr std::array<std::pair<std::string_view, Filter>, 34> kFilters = {{
    {"abs", Absolute},
    {"capitalize", Capitalize},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"dictsort", DictSort},
    {"first", First},
    {"float", ToFloat},
    {"indent", Indent},
    {"int", ToInteger},
    {"items", ItemsFilter},
    {"join", Join},
    {"last", Last},
    {"length", Length},
    {"list", ToList},
    {"lower", LowerFilter},
    {"map", Map},
    {"max", Extreme<true>},
    {"min", Extreme<false>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"replace", Replace},
    {"reverse", Reverse},
    {"safe", Safe},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"string", String},
    {"sum", Sum},
    {"title", Title},
    {"tojson", ToJson},
    {"trim", Trim},
    {"unique", Unique},
    {"upper", UpperFilter},
}};

}  // namespace

Value ApplyFilter(Machine& machine, std::string_view name, const Value& value,
                  const Arguments& arguments) {
  machine.Work(1);
  for (const auto& [other, filter] : kFilters) {
    if (other == name) return filter(machine, value, arguments);
  }
  machine.Refuse(fmt::format("the filter {}", Quoted(name)));
}

}  // namespace kvfold::jinja
