// models/chat/jinja_scope.h: the names that a part of a template knows.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/chat/jinja_value.h"

namespace kvfold::jinja {

// Names that are known in one part of a template and the parts within it.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> names;

  const Value* Find(std::string_view name) const {
    for (const auto& [other, value] : names) {
      if (other == name) return &value;
    }
    return nullptr;
  }
  void Set(const std::string& name, Value value) {
    for (auto& [other, old] : names) {
      if (other != name) continue;
      old = std::move(value);
      return;
    }
    names.emplace_back(name, std::move(value));
  }
};
using ScopePtr = std::shared_ptr<Scope>;

}  // namespace kvfold::jinja
