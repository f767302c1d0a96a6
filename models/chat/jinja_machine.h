// models/chat/jinja_machine.h: what Python does with values when Jinja asks it to, within the work
// and the memory that a rendering may take. What fails in Python fails here, with the line.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

class Machine {
 public:
  explicit Machine(uint64_t most_work) : work_left_(most_work) {}
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Where the template stands now, for messages.
  void SetLine(int64_t line) { line_ = line; }
  // Throws InputError: something that this program cannot do, or that Jinja fails at.
  [[noreturn]] void Refuse(std::string_view what) const;
  [[noreturn]] void Fail(std::string_view what) const;
  // A step, an operand, 16 bytes that are copied, or a byte that is made are one each; an item of a
  // list is kItemWork. Throws InputError where more is asked than a template of any use takes.
  void Work(uint64_t amount);
  static constexpr uint64_t kItemWork = 16;

  Value NewText(std::string bytes);
  Value NewList(std::vector<Value> items, List::Kind kind = List::Kind::kList);
  Value NewDict(std::vector<std::pair<Value, Value>> entries);
  Value NewFunction(std::string name, const Value& self,
                    std::function<Value(const Arguments&)> call);

  // str() and repr().
  std::string Str(const Value& value);
  std::string Repr(const Value& value);
  // The text of a value that must be text. A view: the value outlives it.
  std::string_view TextOf(const Value& value, std::string_view what);
  int64_t IntegerOf(const Value& value, std::string_view what);

  bool Equal(const Value& left, const Value& right);
  bool Less(const Value& left, const Value& right);
  bool Contains(const Value& container, const Value& wanted);
  // Whether it can be gone through (iter), and its items, in order; an iterator is spent then.
  static bool IsIterable(const Value& value);
  std::vector<Value> Items(const Value& value);
  int64_t Length(const Value& value);
  // Whether Python's hash takes it: as the key of a mapping.
  static bool IsHashable(const Value& value);
  const Value* FindEntry(const DictData& dict, const Value& key);

  // value.name and value[key], as Jinja's sandbox looks them up: undefined where there is none.
  Value Attribute(const Value& value, std::string_view name);
  Value Item(const Value& value, const Value& key);
  // value[first:last:step], null ones absent.
  Value Slice(const Value& value, const Value* first, const Value* last, const Value* step);

  // A binary operator of arithmetic: +, -, *, /, //, %, **.
  Value Arithmetic(std::string_view op, const Value& left, const Value& right);
  Value Negated(const Value& value);

 private:
  void AppendRepr(std::string& out, const Value& value);
  Value IntegerArithmetic(std::string_view op, int64_t a, int64_t b);
  Value FloatArithmetic(std::string_view op, double a, double b);
  Value Repeated(const Value& value, int64_t times);

  uint64_t work_left_;
  int64_t line_ = 1;
};

// The arguments of a call by the names of its parameters: null where none was given. Fails for more
// than there are, for names that are not among them, and for one given twice.
std::vector<const Value*> Bind(const Machine& machine, std::string_view callee,
                               const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters);

}  // namespace kvfold::jinja
