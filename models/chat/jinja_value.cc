#include "models/chat/jinja_value.h"

#include <algorithm>

namespace kvfold::jinja {

int Depth(const Value& value) {
  if (const auto* list = value.If<List>()) return list->data->depth;
  if (const auto* dict = value.If<Dict>()) return dict->data->depth;
  if (const auto* loop = value.If<Loop>()) return loop->state->depth;
  if (const auto* callable = value.If<Callable>()) return callable->data->depth;
  return 0;
}

Value MakeText(std::string bytes) {
  return {Text{std::make_shared<const std::string>(std::move(bytes))}};
}

Value MakeList(std::vector<Value> items, List::Kind kind) {
  auto data = std::make_shared<ListData>();
  for (const Value& item : items) data->depth = std::max(data->depth, Depth(item) + 1);
  data->items = std::move(items);
  List list{std::move(data), kind, nullptr};
  if (kind == List::Kind::kIterator) list.progress = std::make_shared<Progress>(Progress::kFresh);
  return {std::move(list)};
}

Value MakeDict(std::vector<std::pair<Value, Value>> entries) {
  auto data = std::make_shared<DictData>();
  for (const auto& [key, value] : entries)
    data->depth = std::max({data->depth, Depth(key) + 1, Depth(value) + 1});
  data->entries = std::move(entries);
  return {Dict{std::move(data)}};
}

Value MakeUndefined(std::string what) {
  return {Undefined{std::make_shared<const std::string>(std::move(what))}};
}

bool IsTrue(const Value& value) {
  if (const auto* b = value.If<bool>()) return *b;
  if (const auto* i = value.If<int64_t>()) return *i != 0;
  if (const auto* d = value.If<double>()) return *d != 0.0;
  if (const auto* text = value.If<Text>()) return !text->bytes->empty();
  if (const auto* list = value.If<List>())
    return list->kind == List::Kind::kIterator || !list->data->items.empty();
  if (const auto* dict = value.If<Dict>()) return !dict->data->entries.empty();
  if (const auto* loop = value.If<Loop>()) return !loop->state->items.empty();
  return !value.Is<Undefined>() && !value.Is<None>();
}

std::string_view TypeName(const Value& value) {
  if (value.Is<None>()) return "none";
  if (value.Is<bool>()) return "a truth value";
  if (value.Is<int64_t>() || value.Is<double>()) return "a number";
  if (value.Is<Text>()) return "text";
  if (value.Is<Dict>()) return "a mapping";
  if (value.Is<Namespace>()) return "a namespace";
  if (value.Is<Loop>()) return "a loop";
  if (value.Is<Callable>()) return "a function";
  if (const auto* list = value.If<List>()) {
    switch (list->kind) {
      case List::Kind::kTuple:
        return "a tuple";
      case List::Kind::kRange:
        return "a range";
      case List::Kind::kIterator:
        return "an iterator";
      case List::Kind::kView:
        return "a view";
      case List::Kind::kList:
        return "a list";
    }
  }
  return "undefined";
}

bool IsNumber(const Value& value) {
  return value.Is<bool>() || value.Is<int64_t>() || value.Is<double>();
}

// Of 64 bits and more in its significand, so that both kinds of numbers fit.
long double AsLongDouble(const Value& value) {
  if (const auto* d = value.If<double>()) return *d;
  int64_t integer = 0;
  IsInteger(value, integer);
  return static_cast<long double>(integer);
}

double AsDouble(const Value& value) {
  if (const auto* b = value.If<bool>()) return *b ? 1.0 : 0.0;
  if (const auto* i = value.If<int64_t>()) return static_cast<double>(*i);
  return *value.If<double>();
}

bool IsInteger(const Value& value, int64_t& integer) {
  if (const auto* b = value.If<bool>()) {
    integer = *b ? 1 : 0;
    return true;
  }
  const auto* i = value.If<int64_t>();
  if (i != nullptr) integer = *i;
  return i != nullptr;
}

}  // namespace kvfold::jinja
