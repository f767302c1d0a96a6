// models/chat/jinja_value.h: what a template's expressions are: the values of Python that Jinja
// shows, none of which can be changed but a namespace.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kvfold::jinja {

struct Value;

// Empty text, no items, false; anything else asked of it fails.
struct Undefined {
  std::shared_ptr<const std::string> what;  // "'tools' is undefined", for messages; may be null
};
struct None {};

struct Text {
  std::shared_ptr<const std::string> bytes;  // UTF-8, never null
  bool safe = false;                         // went through the filter "safe": Python's Markup
};

// How far an iterator was gone through.
enum class Progress { kFresh, kBegun, kSpent };

struct ListData;
struct List {
  enum class Kind {
    kList,
    kTuple,
    kRange,
    kView,      // of a dict: its keys, values or items
    kIterator,  // what a filter yields: it is true, has no length, and is gone through once
  };
  std::shared_ptr<const ListData> data;  // never null
  Kind kind = Kind::kList;
  std::shared_ptr<Progress> progress;  // of kIterator, else null
};

struct DictData;
struct Dict {
  std::shared_ptr<const DictData> data;  // never null
};

struct NamespaceData;
struct Namespace {
  std::shared_ptr<NamespaceData> data;
};

struct LoopState;
struct Loop {
  std::shared_ptr<LoopState> state;
};

struct CallableData;
struct Callable {
  std::shared_ptr<const CallableData> data;
};

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, Text, List, Dict, Namespace, Loop, Callable>
      is;

  template <typename T>
  const T* If() const {
    return std::get_if<T>(&is);
  }
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(is);
  }
};

struct ListData {
  std::vector<Value> items;
  int depth = 1;  // of lists within lists
};

struct DictData {
  std::vector<std::pair<Value, Value>> entries;  // in the order in which they came
  int depth = 1;
};

struct NamespaceData {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct LoopState {
  std::vector<Value> items;
  int64_t index0 = 0;
  int depth = 1;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct CallableData {
  std::string name;
  std::function<Value(const Arguments&)> call;
  int depth = 1;
};

// Deeper ones could not be destroyed without exhausting the stack.
constexpr int kMostDepth = 64;
int Depth(const Value& value);

Value MakeText(std::string bytes);
Value MakeList(std::vector<Value> items, List::Kind kind = List::Kind::kList);
Value MakeDict(std::vector<std::pair<Value, Value>> entries);
Value MakeUndefined(std::string what);

bool IsTrue(const Value& value);
// What Python's type() is called, for messages.
std::string_view TypeName(const Value& value);
// bool, int or float as a number. nullptr-like: false where it is none.
bool IsNumber(const Value& value);
double AsDouble(const Value& value);
long double AsLongDouble(const Value& value);  // the very number
// bool and int.
bool IsInteger(const Value& value, int64_t& integer);

}  // namespace kvfold::jinja
