// models/chat/jinja_filters.h: Jinja's filters (jinja2/filters.py), and tojson as transformers has
// it; and its tests (jinja2/tests.py).
#pragma once

#include <string_view>

#include "models/chat/jinja_machine.h"
#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

// value | name(arguments). Refuses filters that are not known.
Value ApplyFilter(Machine& machine, std::string_view name, const Value& value,
                  const Arguments& arguments);

// value is name(arguments). Refuses tests that are not known.
bool ApplyTest(Machine& machine, std::string_view name, const Value& value,
               const Arguments& arguments);

// json.dumps(value, ensure_ascii=..., indent=..., separators=..., sort_keys=...).
Value ToJson(Machine& machine, const Value& value, const Arguments& arguments);

}  // namespace kvfold::jinja
