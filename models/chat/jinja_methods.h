// models/chat/jinja_methods.h: the methods and attributes that Python's values have.
#pragma once

#include <optional>
#include <string_view>

#include "models/chat/jinja_machine.h"
#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

// The attribute `name` of a text, a list, a mapping or a loop, as Python has it, a method as a
// function; nullopt where Python has none of that name. Refuses those that Python has and this
// program does not.
std::optional<Value> FindMethod(Machine& machine, const Value& value, std::string_view name);

}  // namespace kvfold::jinja
