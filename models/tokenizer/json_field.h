// models/tokenizer/json_field.h: fields of a JSON object, asked for by type. Private to the
// tokenizer.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {

// One value and where it stands, "tokenizer.json: model.vocab", for messages. A view: the JSON
// outlives it.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string where)
      : value_(value), where_(std::move(where)) {}

  static const nlohmann::json& Null() {
    static const nlohmann::json kNull;
    return kNull;
  }

  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }
  bool IsNull() const { return value_.is_null(); }

  // The field of an object; a null where it is missing.
  JsonField At(std::string_view key) const {
    const auto found = Object().find(key);
    return {found == value_.end() ? Null() : *found, fmt::format("{}.{}", where_, key)};
  }
  JsonField At(size_t index) const {
    return {Array().at(index), fmt::format("{}[{}]", where_, index)};
  }

  const nlohmann::json& Object() const {
    if (!value_.is_object()) Wrong("an object");
    return value_;
  }
  const nlohmann::json& Array() const {
    if (!value_.is_array()) Wrong("an array");
    return value_;
  }
  const std::string& String() const {
    if (!value_.is_string()) Wrong("a string");
    return value_.get_ref<const std::string&>();
  }
  bool Bool() const {
    if (!value_.is_boolean()) Wrong("true or false");
    return value_.get<bool>();
  }
  bool Bool(bool fallback) const { return IsNull() ? fallback : Bool(); }
  // A whole number of [0, most].
  int64_t Int(int64_t most) const {
    if (!value_.is_number_unsigned() || value_.get<uint64_t>() > static_cast<uint64_t>(most)) {
      Wrong(fmt::format("a whole number from 0 to {}", most));
    }
    return static_cast<int64_t>(value_.get<uint64_t>());
  }

  // Refuses every key that is not among `known`: what a key means that this program does not know
  // cannot be kept.
  void ExpectKeys(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, ignored] : Object().items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        throw InputError(
            fmt::format("{} has the field {}, which is not supported", where_, Quoted(key)));
      }
    }
  }

  [[noreturn]] void Wrong(std::string_view expected) const {
    throw InputError(fmt::format("{} is {}, expected {}", where_, Describe(), expected));
  }

 private:
  std::string Describe() const {
    if (value_.is_null()) return "missing or null";
    if (value_.is_string()) return Quoted(value_.get_ref<const std::string&>());
    if (value_.is_primitive()) return value_.dump();
    return value_.is_object() ? "an object" : "an array";
  }

  const nlohmann::json& value_;
  std::string where_;
};

}  // namespace kvfold
