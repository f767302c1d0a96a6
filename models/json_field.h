// models/json_field.h: one value of a JSON document, asked for by type. What is wrong with it is
// said with its place.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold {

// A view: the JSON outlives it. All reads throw InputError where the value is missing or of another
// type: "tokenizer.json: model.vocab is [], expected an object".
class JsonField {
 public:
  // `where` names it in messages, "tokenizer.json: model.vocab". nullptr: it is missing.
  JsonField(const nlohmann::json* value, std::string where)
      : value_(value), where_(std::move(where)) {}
  JsonField(const nlohmann::json& value, std::string where) : JsonField(&value, std::move(where)) {}

  const nlohmann::json& value() const;  // null where it is missing
  const std::string& where() const { return where_; }
  bool IsNull() const { return value().is_null(); }

  JsonField At(std::string_view key) const;  // of an object
  JsonField At(size_t index) const;          // of an array

  const nlohmann::json& Object() const;
  const nlohmann::json& Array() const;
  const std::string& String() const;
  std::vector<std::string> Strings() const;
  bool Bool() const;
  bool Bool(bool fallback) const { return IsNull() ? fallback : Bool(); }
  int64_t Int() const;
  int64_t Int(int64_t most) const;  // of [0, most]
  std::vector<int64_t> IntOrInts() const;
  double Number() const;  // finite

  // Refuses every key that is not among `known`: what a key means that this program does not know
  // cannot be kept.
  void ExpectKeys(std::initializer_list<std::string_view> known) const;

  // "missing", or the value as a message shows it.
  std::string Shown() const;
  // Throws InputError of what was found and what was expected.
  [[noreturn]] void Wrong(std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace kvfold
