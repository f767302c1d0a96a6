// models/json_fields.h: the fields of one JSON object, most of which may be missing. It remembers
// which keys were asked for, so that a key nobody knows can be refused instead of passed over.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "models/json_field.h"

namespace kvfold {

class JsonFields {
 public:
  // `what` names the object in messages: "model/config.json", and `prefix` its place in it
  // ("rope_scaling."). `object` is borrowed. Throws InputError where it is no object.
  JsonFields(const nlohmann::json& object, std::string what, std::string prefix = "");

  JsonField At(const std::string& key);  // also where it is missing
  bool HasKey(const std::string& key);   // present, be it null
  // std::optional of what JsonField gives: nullopt where the key is missing or null.
  auto Int(const std::string& key) { return Optional<int64_t>(key, &JsonField::Int); }
  auto Number(const std::string& key) { return Optional(key, &JsonField::Number); }
  auto Bool(const std::string& key) { return Optional<bool>(key, &JsonField::Bool); }
  auto String(const std::string& key) { return Optional(key, &JsonField::String); }
  auto Strings(const std::string& key) { return Optional(key, &JsonField::Strings); }
  auto IntOrInts(const std::string& key) { return Optional(key, &JsonField::IntOrInts); }
  const nlohmann::json* Object(const std::string& key);  // nullptr where missing or null

  // Throws InputError that `key` is what is found there, and what was expected.
  [[noreturn]] void Refuse(const std::string& key, std::string_view expected) const;
  // "rope_scaling.factor is 2": what stands there, for messages.
  std::string Found(const std::string& key) const;
  // The same of a key that nobody knows, quoted: it may be any text.
  std::string FoundUnknown(const std::string& key) const;
  // The names of the keys that were never asked for, in their order.
  std::vector<std::string> UnknownKeys() const;
  // The key with its place in the object: "rope_scaling.factor".
  std::string Full(const std::string& key) const { return prefix_ + key; }

  const nlohmann::json& object() const { return object_; }
  const std::string& what() const { return what_; }

 private:
  JsonField Field(const std::string& key) const;
  template <typename T>
  std::optional<std::decay_t<T>> Optional(const std::string& key, T (JsonField::*read)() const) {
    const JsonField field = At(key);
    if (field.IsNull()) return std::nullopt;
    return (field.*read)();
  }

  const nlohmann::json& object_;
  std::string what_;
  std::string prefix_;
  std::set<std::string> known_;
};

}  // namespace kvfold
