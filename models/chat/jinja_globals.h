// models/chat/jinja_globals.h: the functions that transformers' environment gives to a template:
// raise_exception, strftime_now, namespace, dict and range.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/chat/jinja_machine.h"
#include "models/chat/jinja_scope.h"
#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

// Every namespace that a rendering made: one may hold itself, and is emptied at the end.
using Namespaces = std::vector<std::shared_ptr<NamespaceData>>;

// `machine` and `namespaces` must outlive the functions.
void AddGlobals(Machine& machine, Namespaces& namespaces, Scope& globals);

// Sets an attribute of a namespace.
void SetAttribute(Machine& machine, NamespaceData& data, const std::string& name,
                  const Value& value);

}  // namespace kvfold::jinja
