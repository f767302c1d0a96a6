#include "models/json_fields.h"

#include <utility>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {

JsonFields::JsonFields(const nlohmann::json& object, std::string what, std::string prefix)
    : object_(object), what_(std::move(what)), prefix_(std::move(prefix)) {
  if (object.is_object()) return;
  const std::string place = prefix_.empty() ? "the file" : prefix_.substr(0, prefix_.size() - 1);
  JsonField(object, fmt::format("{}: {}", what_, place)).Wrong("a JSON object");
}

JsonField JsonFields::Field(const std::string& key) const {
  const auto found = object_.find(key);
  return {found == object_.end() ? nullptr : &*found, fmt::format("{}: {}", what_, Full(key))};
}

JsonField JsonFields::At(const std::string& key) {
  known_.insert(key);
  return Field(key);
}

bool JsonFields::HasKey(const std::string& key) {
  known_.insert(key);
  return object_.contains(key);
}

std::string JsonFields::Found(const std::string& key) const {
  return fmt::format("{} is {}", Full(key), Field(key).Shown());
}

std::string JsonFields::FoundUnknown(const std::string& key) const {
  return fmt::format("{} is {}", Quoted(Full(key)), Field(key).Shown());
}

void JsonFields::Refuse(const std::string& key, std::string_view expected) const {
  Field(key).Wrong(expected);
}

const nlohmann::json* JsonFields::Object(const std::string& key) {
  const JsonField field = At(key);
  return field.IsNull() ? nullptr : &field.Object();
}

std::vector<std::string> JsonFields::UnknownKeys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_.items()) {
    if (known_.count(key) == 0) unknown.push_back(key);
  }
  return unknown;
}

}  // namespace kvfold
