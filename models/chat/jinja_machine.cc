#include "models/chat/jinja_machine.h"

#include <algorithm>
#include <cmath>
#include <compare>
#include <utility>

#include "comm/error.h"
#include "models/chat/jinja_methods.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {

void Machine::Refuse(std::string_view what) const {
  throw InputError(fmt::format("line {} has {}, which is not supported", line_, what));
}

void Machine::Fail(std::string_view what) const {
  throw InputError(fmt::format("line {}: {}", line_, what));
}

void Machine::Work(uint64_t amount) {
  if (amount > work_left_)
    throw InputError(fmt::format("line {} is reached with more work than a template takes", line_));
  work_left_ -= amount;
}

Value Machine::NewText(std::string bytes) {
  Work(bytes.size());
  return MakeText(std::move(bytes));
}

Value Machine::NewList(std::vector<Value> items, List::Kind kind) {
  Work(kItemWork * (items.size() + 1));
  Value list = MakeList(std::move(items), kind);
  if (Depth(list) > kMostDepth) Refuse("lists within lists too deep");
  return list;
}

Value Machine::NewDict(std::vector<std::pair<Value, Value>> entries) {
  Work(2 * kItemWork * (entries.size() + 1));
  Value dict = MakeDict(std::move(entries));
  if (Depth(dict) > kMostDepth) Refuse("mappings within mappings too deep");
  return dict;
}

Value Machine::NewFunction(std::string name, const Value& self,
                           std::function<Value(const Arguments&)> call) {
  Work(kItemWork);
  auto data = std::make_shared<CallableData>();
  data->name = std::move(name);
  data->call = std::move(call);
  data->depth = Depth(self) + 1;
  if (data->depth > kMostDepth) Refuse("methods of methods too deep");
  return {Callable{std::move(data)}};
}

std::string Machine::Str(const Value& value) {
  if (const auto* text = value.If<Text>()) {
    Work(text->bytes->size() / 16);
    return *text->bytes;
  }
  if (value.Is<Undefined>()) return "";
  return Repr(value);
}

std::string Machine::Repr(const Value& value) {
  std::string out;
  AppendRepr(out, value);
  return out;
}

void Machine::AppendRepr(std::string& out, const Value& value) {
  const size_t before = out.size();
  const auto list = [&](const std::vector<Value>& items, char open, char close) {
    out += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ", ";
      AppendRepr(out, items[i]);
    }
    if (open == '(' && items.size() == 1) out += ',';
    out += close;
  };
  if (const auto* text = value.If<Text>()) {
    if (text->safe) Refuse("text marked as safe within a list");
    out += jinja::Repr(*text->bytes);
  } else if (value.Is<None>()) {
    out += "None";
  } else if (const auto* b = value.If<bool>()) {
    out += *b ? "True" : "False";
  } else if (const auto* i = value.If<int64_t>()) {
    out += std::to_string(*i);
  } else if (const auto* d = value.If<double>()) {
    out += FloatText(*d);
  } else if (const auto* l = value.If<List>(); l != nullptr && l->kind == List::Kind::kList) {
    list(l->data->items, '[', ']');
  } else if (l != nullptr && l->kind == List::Kind::kTuple) {
    list(l->data->items, '(', ')');
  } else if (const auto* dict = value.If<Dict>()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : dict->data->entries) {
      if (!std::exchange(first, false)) out += ", ";
      AppendRepr(out, key);
      out += ": ";
      AppendRepr(out, item);
    }
    out += '}';
  } else if (value.Is<Undefined>()) {
    out += "Undefined";
  } else {
    Refuse(fmt::format("{} that is printed", TypeName(value)));
  }
  Work(out.size() - std::min(before, out.size()) + 1);
}

std::string_view Machine::TextOf(const Value& value, std::string_view what) {
  const auto* text = value.If<Text>();
  if (text == nullptr) Fail(fmt::format("{} is {}, expected text", what, TypeName(value)));
  if (text->safe) Refuse(fmt::format("{} that was marked as safe", what));
  Work(text->bytes->size() / 16);
  return *text->bytes;
}

int64_t Machine::IntegerOf(const Value& value, std::string_view what) {
  int64_t integer = 0;
  if (!IsInteger(value, integer))
    Fail(fmt::format("{} is {}, expected a whole number", what, TypeName(value)));
  return integer;
}

bool Machine::Equal(const Value& left, const Value& right) {
  Work(1);
  if (IsNumber(left) && IsNumber(right)) {
    int64_t a = 0, b = 0;
    if (IsInteger(left, a) && IsInteger(right, b)) return a == b;
    return AsLongDouble(left) == AsLongDouble(right);
  }
  if (left.is.index() != right.is.index()) return false;
  if (const auto* a = left.If<Text>()) {
    const std::string& b = *right.If<Text>()->bytes;
    Work(std::min(a->bytes->size(), b.size()) / 16);
    return *a->bytes == b;
  }
  if (const auto* a = left.If<List>()) {
    const List& b = *right.If<List>();
    if (a->kind == List::Kind::kView || a->kind == List::Kind::kIterator ||
        b.kind == List::Kind::kView || b.kind == List::Kind::kIterator) {
      Refuse("a comparison of views or iterators");
    }
    const std::vector<Value>&x = a->data->items, &y = b.data->items;
    if (a->kind != b.kind || x.size() != y.size()) return false;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!Equal(x[i], y[i])) return false;
    }
    return true;
  }
  if (const auto* a = left.If<Dict>()) {
    const DictData& b = *right.If<Dict>()->data;
    if (a->data->entries.size() != b.entries.size()) return false;
    for (const auto& [key, value] : a->data->entries) {
      const Value* const other = FindEntry(b, key);
      if (other == nullptr || !Equal(value, *other)) return false;
    }
    return true;
  }
  if (left.Is<None>() || left.Is<Undefined>()) return true;
  Refuse(fmt::format("a comparison of {}s", TypeName(left)));
}

bool Machine::Less(const Value& left, const Value& right) {
  Work(1);
  if (IsNumber(left) && IsNumber(right)) {
    int64_t a = 0, b = 0;
    if (IsInteger(left, a) && IsInteger(right, b)) return a < b;
    return AsLongDouble(left) < AsLongDouble(right);
  }
  const auto* a = left.If<Text>();
  const auto* b = right.If<Text>();
  if (a != nullptr && b != nullptr) {  // UTF-8 is in the order of code points
    Work(std::min(a->bytes->size(), b->bytes->size()) / 16);
    return *a->bytes < *b->bytes;
  }
  const auto* x = left.If<List>();
  const auto* y = right.If<List>();
  if (x != nullptr && y != nullptr && x->kind == y->kind &&
      (x->kind == List::Kind::kList || x->kind == List::Kind::kTuple)) {
    const std::vector<Value>&p = x->data->items, &q = y->data->items;
    for (size_t i = 0; i < std::min(p.size(), q.size()); ++i) {
      if (!Equal(p[i], q[i])) return Less(p[i], q[i]);
    }
    return p.size() < q.size();
  }
  Fail(fmt::format("{} and {} have no order", TypeName(left), TypeName(right)));
}

bool Machine::Contains(const Value& container, const Value& wanted) {
  if (container.Is<Text>()) {
    const std::string_view text = TextOf(container, "what is searched");
    const std::string_view part = TextOf(wanted, "what is sought in text");
    Work(text.size() / 4);
    return text.find(part) != std::string_view::npos;
  }
  if (const auto* dict = container.If<Dict>()) {
    if (!IsHashable(wanted)) Fail(fmt::format("{} can be no key", TypeName(wanted)));
    return FindEntry(*dict->data, wanted) != nullptr;
  }
  if (const auto* list = container.If<List>();
      list != nullptr && list->kind == List::Kind::kIterator) {
    Refuse("an 'in' of an iterator");
  }
  const std::vector<Value> items = Items(container);
  return std::ranges::any_of(items, [&](const Value& item) { return Equal(item, wanted); });
}

bool Machine::IsIterable(const Value& value) {
  return value.Is<Text>() || value.Is<List>() || value.Is<Dict>() || value.Is<Undefined>() ||
         value.Is<Loop>();
}

std::vector<Value> Machine::Items(const Value& value) {
  std::vector<Value> items;
  if (const auto* list = value.If<List>()) {
    if (list->progress != nullptr) {
      const Progress before = std::exchange(*list->progress, Progress::kSpent);
      if (before == Progress::kBegun) Refuse("the rest of an iterator");
      if (before == Progress::kSpent) return items;
    }
    Work(kItemWork * list->data->items.size());
    return list->data->items;
  }
  if (const auto* dict = value.If<Dict>()) {
    Work(kItemWork * dict->data->entries.size());
    for (const auto& [key, ignored] : dict->data->entries) items.push_back(key);
    return items;
  }
  if (value.Is<Text>()) {
    const std::string_view text = TextOf(value, "what is gone through");
    for (size_t i = 0; i < text.size();) {
      const size_t begin = i;
      NextCodePoint(text, i);
      Work(4 * kItemWork);
      items.push_back(MakeText(std::string(text.substr(begin, i - begin))));
    }
    return items;
  }
  if (value.Is<Undefined>()) return items;
  if (value.Is<Loop>()) Refuse("a loop over a loop");
  Fail(fmt::format("{} has no items", TypeName(value)));
}

int64_t Machine::Length(const Value& value) {
  if (const auto* text = value.If<Text>()) {
    Work(text->bytes->size() / 16);
    return CountCharacters(*text->bytes);
  }
  if (const auto* list = value.If<List>(); list != nullptr && list->progress == nullptr)
    return static_cast<int64_t>(list->data->items.size());
  if (const auto* dict = value.If<Dict>()) return static_cast<int64_t>(dict->data->entries.size());
  if (const auto* loop = value.If<Loop>()) return static_cast<int64_t>(loop->state->items.size());
  if (value.Is<Undefined>()) return 0;
  Fail(fmt::format("{} has no length", TypeName(value)));
}

bool Machine::IsHashable(const Value& value) {
  if (value.Is<Dict>()) return false;
  const auto* list = value.If<List>();
  if (list == nullptr || list->kind == List::Kind::kRange) return true;
  return list->kind == List::Kind::kTuple && std::ranges::all_of(list->data->items, IsHashable);
}

const Value* Machine::FindEntry(const DictData& dict, const Value& key) {
  Work(dict.entries.size() / 8);
  for (const auto& [other, value] : dict.entries) {
    // Most keys are text, and most do not match at the first byte or the length.
    const auto *a = other.If<Text>(), *b = key.If<Text>();
    const bool equal = a != nullptr && b != nullptr ? *a->bytes == *b->bytes : Equal(other, key);
    if (equal) return &value;
  }
  return nullptr;
}

std::vector<const Value*> Bind(const Machine& machine, std::string_view callee,
                               const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters) {
  std::vector<const Value*> bound(parameters.size());
  if (arguments.positional.size() > bound.size()) {
    machine.Fail(fmt::format("{} takes at most {} arguments, not {}", callee, bound.size(),
                             arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::ranges::find(parameters, name);
    if (found == parameters.end())
      machine.Fail(fmt::format("{} has no argument {}", callee, Quoted(name)));
    const Value*& slot = bound[static_cast<size_t>(found - parameters.begin())];
    if (slot != nullptr)
      machine.Fail(fmt::format("{} is given its argument {} twice", callee, Quoted(name)));
    slot = &value;
  }
  return bound;
}

}  // namespace kvfold::jinja
