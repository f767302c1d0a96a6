// models/chat/jinja_parser.h: Jinja's grammar as chat templates may use it, as a tree. More parses
// than can be evaluated: a branch that is never taken must be read to be passed by.
#pragma once

#include <string_view>
#include <vector>

#include "models/chat/jinja_ast.h"

namespace kvfold::jinja {

// Throws InputError naming what is not supported, and the line.
std::vector<Statement> Parse(std::string_view source);

}  // namespace kvfold::jinja
