// models/json_fields.h: the fields of one JSON object, read by name and type. It remembers which
// keys were asked for, so that a key nobody knows can be refused instead of passed over.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold {

class JsonFields {
 public:
  // `what` names the object in messages: "model/config.json", and `prefix` its place in it
  // ("rope_scaling."). `object` is borrowed. Throws InputError where it is no object.
  JsonFields(const nlohmann::json& object, std::string what, std::string prefix = "");

  bool HasKey(const std::string& key);  // present, be it null
  // nullopt where the key is missing or null; throws InputError where the value is of another type.
  std::optional<int64_t> Int(const std::string& key);
  std::optional<double> Number(const std::string& key);  // finite
  std::optional<bool> Bool(const std::string& key);
  std::optional<std::string> String(const std::string& key);
  std::optional<std::vector<std::string>> Strings(const std::string& key);
  std::optional<std::vector<int64_t>> IntOrInts(const std::string& key);
  const nlohmann::json* Object(const std::string& key);  // nullptr where missing or null
  int64_t RequiredInt(const std::string& key);

  // Throws InputError that `key` is `found`, and what was expected.
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
  const nlohmann::json* Get(const std::string& key);

  const nlohmann::json& object_;
  std::string what_;
  std::string prefix_;
  std::set<std::string> known_;
};

}  // namespace kvfold
