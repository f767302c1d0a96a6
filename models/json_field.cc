#include "models/json_field.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "comm/error.h"
#include "models/json_text.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

bool IsInt64(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

}  // namespace

const nlohmann::json& JsonField::value() const {
  static const nlohmann::json kNull;
  return value_ == nullptr ? kNull : *value_;
}

JsonField JsonField::At(std::string_view key) const {
  const auto found = Object().find(key);
  return {found == value_->end() ? nullptr : &*found, fmt::format("{}.{}", where_, key)};
}

JsonField JsonField::At(size_t index) const {
  return {Array().at(index), fmt::format("{}[{}]", where_, index)};
}

const nlohmann::json& JsonField::Object() const {
  if (!value().is_object()) Wrong("an object");
  return *value_;
}

const nlohmann::json& JsonField::Array() const {
  if (!value().is_array()) Wrong("an array");
  return *value_;
}

const std::string& JsonField::String() const {
  if (!value().is_string()) Wrong("a string");
  return value_->get_ref<const std::string&>();
}

std::vector<std::string> JsonField::Strings() const {
  if (!value().is_array() ||
      !std::ranges::all_of(*value_, [](const auto& item) { return item.is_string(); })) {
    Wrong("a list of strings");
  }
  return value_->get<std::vector<std::string>>();
}

bool JsonField::Bool() const {
  if (!value().is_boolean()) Wrong("true or false");
  return value_->get<bool>();
}

int64_t JsonField::Int() const {
  if (!IsInt64(value())) Wrong("an integer");
  return value_->get<int64_t>();
}

int64_t JsonField::Int(int64_t most) const {
  if (!IsInt64(value()) || *value_ < 0 || *value_ > most) {
    Wrong(fmt::format("a whole number from 0 to {}", most));
  }
  return value_->get<int64_t>();
}

std::vector<int64_t> JsonField::IntOrInts() const {
  if (IsInt64(value())) return {Int()};
  if (!value().is_array() || !std::ranges::all_of(*value_, IsInt64)) {
    Wrong("an integer or a list of integers");
  }
  return value_->get<std::vector<int64_t>>();
}

double JsonField::Number() const {
  if (!value().is_number() || !std::isfinite(value_->get<double>())) Wrong("a finite number");
  return value_->get<double>();
}

void JsonField::ExpectKeys(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, ignored] : Object().items()) {
    if (std::ranges::find(known, key) == known.end()) {
      throw InputError(
          fmt::format("{} has the field {}, which is not supported", where_, Quoted(key)));
    }
  }
}

std::string JsonField::Shown() const { return value_ == nullptr ? "missing" : ShownJson(*value_); }

void JsonField::Wrong(std::string_view expected) const {
  throw InputError(fmt::format("{} is {}, expected {}", where_, Shown(), expected));
}

}  // namespace kvfold
