#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "models/chat/jinja_machine.h"
#include "models/chat/jinja_methods.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {

Value Machine::Attribute(const Value& value, std::string_view name) {
  if (const auto* undefined = value.If<Undefined>())
    Fail(fmt::format("{}, and has no {}", undefined->what ? *undefined->what : "it is undefined",
                     Quoted(name)));
  if (name.starts_with('_')) Refuse("the attribute " + Quoted(name));
  if (const auto* ns = value.If<Namespace>()) {
    for (const auto& [other, found] : ns->data->attributes) {
      if (other == name) return found;
    }
  } else {
    if (std::optional<Value> method = FindMethod(*this, value, name)) return *std::move(method);
    if (const auto* dict = value.If<Dict>()) {
      const Value* const found = FindEntry(*dict->data, MakeText(std::string(name)));
      if (found != nullptr) return *found;
    }
  }
  return MakeUndefined(fmt::format("{} has no {}", TypeName(value), Quoted(name)));
}

Value Machine::Item(const Value& value, const Value& key) {
  if (const auto* undefined = value.If<Undefined>())
    Fail(fmt::format("{}, and has no items",
                     undefined->what ? *undefined->what : "it is undefined"));
  if (const auto* dict = value.If<Dict>()) {
    if (IsHashable(key)) {
      if (const Value* const found = FindEntry(*dict->data, key)) return *found;
    }
  } else if (int64_t index = 0; IsInteger(key, index)) {
    const auto* list = value.If<List>();
    const bool indexed =
        list != nullptr && (list->kind == List::Kind::kList || list->kind == List::Kind::kTuple ||
                            list->kind == List::Kind::kRange);
    if (indexed || value.Is<Text>()) {
      const int64_t size = Length(value);
      const int64_t at = index < 0 ? index + size : index;
      if (at >= 0 && at < size) {
        if (indexed) return list->data->items[static_cast<size_t>(at)];
        const std::string_view text = TextOf(value, "what is indexed");
        Work(text.size() / 16);
        const size_t begin = ByteOfCharacter(text, at);
        return NewText(std::string(text.substr(begin, ByteOfCharacter(text.substr(begin), 1))));
      }
    }
  }
  if (const auto* name = key.If<Text>(); name != nullptr && !value.Is<Dict>())
    return Attribute(value, *name->bytes);
  if (const auto* name = key.If<Text>()) {
    if (std::optional<Value> method = FindMethod(*this, value, *name->bytes))
      return *std::move(method);
  }
  return MakeUndefined(fmt::format("{} has no such item", TypeName(value)));
}

Value Machine::Slice(const Value& value, const Value* first, const Value* last, const Value* step) {
  if (const auto* undefined = value.If<Undefined>())
    Fail(fmt::format("{}, and has no items",
                     undefined->what ? *undefined->what : "it is undefined"));
  const auto given = [](const Value* bound) { return bound != nullptr && !bound->Is<None>(); };
  const auto* list = value.If<List>();
  const bool sliced = value.Is<Text>() || (list != nullptr && (list->kind == List::Kind::kList ||
                                                               list->kind == List::Kind::kTuple ||
                                                               list->kind == List::Kind::kRange));
  if (!sliced) Fail(fmt::format("a slice of {}", TypeName(value)));
  const int64_t stride = given(step) ? IntegerOf(*step, "a slice's step") : 1;
  if (stride == 0) Fail("a slice's step is 0");
  const int64_t size = Length(value);
  const auto bound = [&](const Value* end, int64_t fallback) {
    if (!given(end)) return fallback;
    int64_t at = IntegerOf(*end, "a slice's end");
    if (at < 0) at = at < -size ? -1 : at + size;
    return stride > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t begin = bound(first, stride > 0 ? 0 : size - 1);
  const int64_t end = bound(last, stride > 0 ? size : -1);
  const auto more = [&](int64_t at) { return stride > 0 ? at < end : at > end; };
  // A step beyond all items ends it.
  const int64_t pace = std::clamp<int64_t>(stride, -size - 1, size + 1);
  if (list != nullptr) {
    std::vector<Value> items;
    for (int64_t at = begin; more(at); at += pace)
      items.push_back(list->data->items[static_cast<size_t>(at)]);
    return NewList(std::move(items), list->kind);
  }
  const std::string_view text = TextOf(value, "what is sliced");
  Work(text.size() / 4);
  if (pace == 1) {
    const size_t from = ByteOfCharacter(text, begin);
    const size_t bytes = ByteOfCharacter(text.substr(from), std::max<int64_t>(0, end - begin));
    return NewText(std::string(text.substr(from, bytes)));
  }
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); NextCodePoint(text, i)) starts.push_back(i);
  Work(starts.size());
  starts.push_back(text.size());
  std::string out;
  for (int64_t at = begin; more(at); at += pace) {
    const auto i = static_cast<size_t>(at);
    out += text.substr(starts[i], starts[i + 1] - starts[i]);
  }
  return NewText(std::move(out));
}

}  // namespace kvfold::jinja
