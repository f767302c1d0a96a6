#include "models/chat/jinja_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <string>

#include "models/chat/jinja_text.h"
#include "models/quoted.h"

namespace kvfold::jinja {
namespace {

using Method = Value (*)(Machine&, const Value& self, const Arguments&);
struct Named {
  std::string_view name;
  Method call;  // null: Python has it, this program does not
};

bool Absent(const Value* argument) { return argument == nullptr || argument->Is<None>(); }

std::vector<Value> Texts(const std::vector<std::string_view>& parts) {
  std::vector<Value> texts;
  for (const std::string_view part : parts) texts.push_back(MakeText(std::string(part)));
  return texts;
}

template <bool left, bool right>
Value Strip(Machine& machine, const Value& self, const Arguments& arguments) {
  std::string_view text = machine.TextOf(self, "what is stripped");
  const auto bound = Bind(machine, "strip", arguments, {"chars"});
  if (Absent(bound[0])) {
    if (left) text = LeftStripped(text);
    if (right) text = RightStripped(text);
  } else {
    const std::string_view characters = machine.TextOf(*bound[0], "what strip takes away");
    machine.Work(text.size() / 16 * (characters.size() + 1));
    if (left) text = LeftStripped(text, characters);
    if (right) text = RightStripped(text, characters);
  }
  return machine.NewText(std::string(text));
}

template <bool at_start>
Value StartsOrEnds(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is looked at");
  const auto bound = Bind(machine, at_start ? "startswith" : "endswith", arguments, {"prefix"});
  if (bound[0] == nullptr) machine.Fail("startswith and endswith need a text");
  const auto matches = [&](const Value& wanted) {
    const std::string_view part = machine.TextOf(wanted, "what a text starts or ends with");
    return at_start ? text.starts_with(part) : text.ends_with(part);
  };
  if (const auto* list = bound[0]->If<List>(); list != nullptr && list->kind == List::Kind::kTuple)
    return {std::ranges::any_of(list->data->items, matches)};
  return {matches(*bound[0])};
}

template <bool from_right>
Value SplitText(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is split");
  const auto bound = Bind(machine, "split", arguments, {"sep", "maxsplit"});
  std::string_view separator;
  if (!Absent(bound[0])) {
    separator = machine.TextOf(*bound[0], "what split cuts at");
    if (separator.empty()) machine.Fail("split cuts at an empty text");
  }
  const int64_t most = bound[1] == nullptr ? -1 : machine.IntegerOf(*bound[1], "maxsplit");
  machine.Work(text.size());
  return machine.NewList(
      Texts(from_right ? RightSplit(text, separator, most) : Split(text, separator, most)));
}

Value SplitTextLines(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is split");
  const auto bound = Bind(machine, "splitlines", arguments, {"keepends"});
  machine.Work(text.size());
  return machine.NewList(Texts(SplitLines(text, bound[0] != nullptr && IsTrue(*bound[0]))));
}

template <bool from_right>
Value Partition(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is cut");
  const auto bound = Bind(machine, "partition", arguments, {"sep"});
  if (bound[0] == nullptr) machine.Fail("partition needs a text");
  const std::string_view separator = machine.TextOf(*bound[0], "what partition cuts at");
  if (separator.empty()) machine.Fail("partition cuts at an empty text");
  machine.Work(text.size());
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<std::string_view> parts = {text, "", ""};
  if (at != std::string_view::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (from_right) {
    parts = {"", "", text};
  }
  return machine.NewList(Texts(parts), List::Kind::kTuple);
}

Value Replace(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is replaced in");
  const auto bound = Bind(machine, "replace", arguments, {"old", "new", "count"});
  if (bound[0] == nullptr || bound[1] == nullptr) machine.Fail("replace needs two texts");
  const std::string_view old = machine.TextOf(*bound[0], "what is replaced");
  const std::string_view by = machine.TextOf(*bound[1], "what replaces");
  const int64_t most = bound[2] == nullptr ? -1 : machine.IntegerOf(*bound[2], "replace's count");
  const int64_t n = old.empty() ? static_cast<int64_t>(text.size()) + 1 : Count(text, old);
  machine.Work(text.size() + static_cast<uint64_t>(n) * (by.size() + 1));  // before it is made
  return MakeText(Replaced(text, old, by, most));
}

Value RemoveEnd(Machine& machine, const Value& self, const Arguments& arguments, bool at_start) {
  std::string_view text = machine.TextOf(self, "what is cut");
  const auto bound = Bind(machine, "removeprefix", arguments, {"affix"});
  if (bound[0] == nullptr) machine.Fail("removeprefix and removesuffix need a text");
  const std::string_view part = machine.TextOf(*bound[0], "what is removed");
  if (at_start && text.starts_with(part)) text.remove_prefix(part.size());
  if (!at_start && text.ends_with(part)) text.remove_suffix(part.size());
  return machine.NewText(std::string(text));
}
Value RemovePrefix(Machine& machine, const Value& self, const Arguments& arguments) {
  return RemoveEnd(machine, self, arguments, true);
}
Value RemoveSuffix(Machine& machine, const Value& self, const Arguments& arguments) {
  return RemoveEnd(machine, self, arguments, false);
}

// find, rfind, index and rindex, without bounds.
template <bool from_right, bool must>
Value Find(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is searched");
  const auto bound = Bind(machine, "find", arguments, {"sub"});
  if (bound[0] == nullptr) machine.Fail("find needs a text");
  const std::string_view part = machine.TextOf(*bound[0], "what is sought");
  machine.Work(text.size());
  const size_t at = from_right ? text.rfind(part) : text.find(part);
  if (at != std::string_view::npos) return {CountCharacters(text.substr(0, at))};
  if (must) machine.Fail(Quoted(part) + " is not in the text");
  return {int64_t{-1}};
}

Value CountText(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is counted in");
  const auto bound = Bind(machine, "count", arguments, {"sub"});
  if (bound[0] == nullptr) machine.Fail("count needs a text");
  const std::string_view part = machine.TextOf(*bound[0], "what is counted");
  machine.Work(text.size());
  return {part.empty() ? CountCharacters(text) + 1 : Count(text, part)};
}

Value Join(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view separator = machine.TextOf(self, "what joins");
  const auto bound = Bind(machine, "join", arguments, {"iterable"});
  if (bound[0] == nullptr) machine.Fail("join needs a list");
  std::string all;
  bool first = true;
  for (const Value& item : machine.Items(*bound[0])) {
    const size_t before = all.size();
    if (!std::exchange(first, false)) all += separator;
    all += machine.TextOf(item, "what is joined");
    machine.Work(all.size() - before);
  }
  return MakeText(std::move(all));
}

template <std::string (*convert)(std::string_view), bool ascii>
Value Convert(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is converted");
  Bind(machine, "this method", arguments, {});
  if (ascii && !IsAscii(text)) machine.Refuse("a title of text beyond ASCII");
  if (text.size() > std::numeric_limits<int32_t>::max()) machine.Refuse("a text of 2 GiB");
  return machine.NewText(convert(text));
}

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return IsUpper(c) || IsLower(c); }
bool IsLetterOrDigit(char c) { return IsLetter(c) || IsDigit(c); }

// isdigit, isalpha ...: every character is of a kind, and there is one.
template <bool (*kind)(char)>
Value AllAre(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is looked at");
  Bind(machine, "this method", arguments, {});
  if (!IsAscii(text)) machine.Refuse("a test of characters beyond ASCII");
  return {!text.empty() && std::ranges::all_of(text, kind)};
}
// isupper, islower: there are letters, all of that case.
template <bool (*kind)(char), bool (*other)(char)>
Value CaseIs(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is looked at");
  Bind(machine, "this method", arguments, {});
  if (!IsAscii(text)) machine.Refuse("a test of characters beyond ASCII");
  return {std::ranges::any_of(text, kind) && std::ranges::none_of(text, other)};
}
Value IsSpace(Machine& machine, const Value& self, const Arguments& arguments) {
  const std::string_view text = machine.TextOf(self, "what is looked at");
  Bind(machine, "isspace", arguments, {});
  return {!text.empty() && Stripped(text).empty()};
}

constexpr std::array<Named, 47> kTextMethods = {{
    {"strip", Strip<true, true>},
    {"lstrip", Strip<true, false>},
    {"rstrip", Strip<false, true>},
    {"startswith", StartsOrEnds<true>},
    {"endswith", StartsOrEnds<false>},
    {"split", SplitText<false>},
    {"rsplit", SplitText<true>},
    {"splitlines", SplitTextLines},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"replace", Replace},
    {"removeprefix", RemovePrefix},
    {"removesuffix", RemoveSuffix},
    {"find", Find<false, false>},
    {"rfind", Find<true, false>},
    {"index", Find<false, true>},
    {"rindex", Find<true, true>},
    {"count", CountText},
    {"join", Join},
    {"upper", Convert<Upper, false>},
    {"lower", Convert<Lower, false>},
    {"title", Convert<Titled, true>},
    {"capitalize", Convert<Capitalized, true>},
    {"isdigit", AllAre<IsDigit>},
    {"isdecimal", AllAre<IsDigit>},
    {"isnumeric", AllAre<IsDigit>},
    {"isalpha", AllAre<IsLetter>},
    {"isalnum", AllAre<IsLetterOrDigit>},
    {"isupper", CaseIs<IsUpper, IsLower>},
    {"islower", CaseIs<IsLower, IsUpper>},
    {"isspace", IsSpace},
    {"casefold", nullptr},
    {"center", nullptr},
    {"encode", nullptr},
    {"expandtabs", nullptr},
    {"format", nullptr},
    {"format_map", nullptr},
    {"isascii", nullptr},
    {"isidentifier", nullptr},
    {"isprintable", nullptr},
    {"istitle", nullptr},
    {"ljust", nullptr},
    {"maketrans", nullptr},
    {"rjust", nullptr},
    {"swapcase", nullptr},
    {"translate", nullptr},
    {"zfill", nullptr},
}};

Value Get(Machine& machine, const Value& self, const Arguments& arguments) {
  const auto bound = Bind(machine, "get", arguments, {"key", "default"});
  if (bound[0] == nullptr) machine.Fail("get needs a key");
  if (!Machine::IsHashable(*bound[0]))
    machine.Fail(fmt::format("{} can be no key", TypeName(*bound[0])));
  const Value* const found = machine.FindEntry(*self.If<Dict>()->data, *bound[0]);
  if (found != nullptr) return *found;
  return bound[1] == nullptr ? Value{None{}} : *bound[1];
}

enum class Part { kKeys, kValues, kItems };
template <Part part>
Value View(Machine& machine, const Value& self, const Arguments& arguments) {
  Bind(machine, "this method", arguments, {});
  std::vector<Value> parts;
  for (const auto& [key, value] : self.If<Dict>()->data->entries) {
    parts.push_back(part == Part::kKeys     ? key
                    : part == Part::kValues ? value
                                            : machine.NewList({key, value}, List::Kind::kTuple));
  }
  return machine.NewList(std::move(parts), List::Kind::kView);
}

Value Copy(Machine& machine, const Value& self, const Arguments& arguments) {
  Bind(machine, "copy", arguments, {});
  return self;
}

constexpr std::array<Named, 11> kDictMethods = {{
    {"get", Get},
    {"keys", View<Part::kKeys>},
    {"values", View<Part::kValues>},
    {"items", View<Part::kItems>},
    {"copy", Copy},
    {"clear", nullptr},
    {"fromkeys", nullptr},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
}};

Value IndexOf(Machine& machine, const Value& self, const Arguments& arguments) {
  const auto bound = Bind(machine, "index", arguments, {"value"});
  if (bound[0] == nullptr) machine.Fail("index needs a value");
  const std::vector<Value> items = machine.Items(self);
  for (size_t i = 0; i < items.size(); ++i) {
    if (machine.Equal(items[i], *bound[0])) return {static_cast<int64_t>(i)};
  }
  machine.Fail("the list has no such item");
}

Value CountItems(Machine& machine, const Value& self, const Arguments& arguments) {
  const auto bound = Bind(machine, "count", arguments, {"value"});
  if (bound[0] == nullptr) machine.Fail("count needs a value");
  const std::vector<Value> items = machine.Items(self);
  return {static_cast<int64_t>(std::ranges::count_if(
      items, [&](const Value& item) { return machine.Equal(item, *bound[0]); }))};
}

constexpr std::array<Named, 11> kListMethods = {{
    {"index", IndexOf},
    {"count", CountItems},
    {"copy", Copy},
    {"append", nullptr},
    {"clear", nullptr},
    {"extend", nullptr},
    {"insert", nullptr},
    {"pop", nullptr},
    {"remove", nullptr},
    {"reverse", nullptr},
    {"sort", nullptr},
}};

Value Cycle(Machine& machine, const Value& self, const Arguments& arguments) {
  if (!arguments.named.empty()) machine.Fail("loop.cycle has no named arguments");
  if (arguments.positional.empty()) machine.Fail("loop.cycle has nothing to cycle through");
  return arguments.positional[static_cast<size_t>(self.If<Loop>()->state->index0) %
                              arguments.positional.size()];
}

std::optional<Value> LoopAttribute(Machine& machine, const Value& value, std::string_view name) {
  const LoopState& loop = *value.If<Loop>()->state;
  const auto length = static_cast<int64_t>(loop.items.size());
  const auto item = [&](int64_t at, std::string_view what) {
    return at >= 0 && at < length ? loop.items[static_cast<size_t>(at)]
                                  : MakeUndefined(fmt::format("there is no {} item", what));
  };
  if (name == "index0") return Value{loop.index0};
  if (name == "index") return Value{loop.index0 + 1};
  if (name == "revindex0") return Value{length - loop.index0 - 1};
  if (name == "revindex") return Value{length - loop.index0};
  if (name == "first") return Value{loop.index0 == 0};
  if (name == "last") return Value{loop.index0 + 1 == length};
  if (name == "length") return Value{length};
  if (name == "depth0") return Value{int64_t{0}};
  if (name == "depth") return Value{int64_t{1}};
  if (name == "previtem") return item(loop.index0 - 1, "previous");
  if (name == "nextitem") return item(loop.index0 + 1, "next");
  if (name == "cycle") {
    return machine.NewFunction("loop.cycle", value, [&machine, value](const Arguments& arguments) {
      return Cycle(machine, value, arguments);
    });
  }
  if (name == "changed") machine.Refuse("loop.changed");
  return std::nullopt;
}

template <size_t n>
std::optional<Value> Among(const std::array<Named, n>& methods, Machine& machine,
                           const Value& value, std::string_view name) {
  const auto found = std::ranges::find(methods, name, &Named::name);
  if (found == methods.end()) return std::nullopt;
  if (found->call == nullptr) machine.Refuse(fmt::format("the method {}", Quoted(name)));
  return machine.NewFunction(std::string(name), value,
                             [&machine, value, call = found->call](const Arguments& arguments) {
                               return call(machine, value, arguments);
                             });
}

}  // namespace

std::optional<Value> FindMethod(Machine& machine, const Value& value, std::string_view name) {
  if (value.Is<Text>()) return Among(kTextMethods, machine, value, name);
  if (value.Is<Dict>()) return Among(kDictMethods, machine, value, name);
  if (value.Is<Loop>()) return LoopAttribute(machine, value, name);
  if (const auto* list = value.If<List>()) {
    if (list->kind == List::Kind::kList) return Among(kListMethods, machine, value, name);
    if (list->kind == List::Kind::kTuple && (name == "index" || name == "count"))
      return Among(kListMethods, machine, value, name);
    const bool known = std::ranges::any_of(
        std::array<std::string_view, 11>{"mapping", "isdisjoint", "start", "stop", "step", "close",
                                         "send", "throw", "gi_frame", "index", "count"},
        [&](std::string_view other) { return other == name; });
    if (list->kind != List::Kind::kTuple && known)
      machine.Refuse(fmt::format("the attribute {} of {}", Quoted(name), TypeName(value)));
  }
  if (IsNumber(value)) {
    for (const std::string_view other :
         {"real", "imag", "numerator", "denominator", "conjugate", "bit_length", "bit_count",
          "to_bytes", "from_bytes", "as_integer_ratio", "is_integer", "hex", "fromhex"}) {
      if (name == other) machine.Refuse(fmt::format("the attribute {} of a number", Quoted(name)));
    }
  }
  if (value.Is<Callable>()) {
    for (const std::string_view other :
         {"name", "arguments", "catch_kwargs", "catch_varargs", "caller", "explicit_caller"}) {
      if (name == other)
        machine.Refuse(fmt::format("the attribute {} of a function", Quoted(name)));
    }
  }
  return std::nullopt;
}

}  // namespace kvfold::jinja
