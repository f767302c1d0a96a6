#include "models/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

std::string Shown(const nlohmann::json& value) {
  using Json = nlohmann::json;
  const std::string text =
      value.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

bool IsInt64(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string what, std::string prefix)
    : object_(object), what_(std::move(what)), prefix_(std::move(prefix)) {
  if (!object.is_object()) {
    const std::string place = prefix_.empty() ? "the file" : prefix_.substr(0, prefix_.size() - 1);
    throw InputError(
        fmt::format("{}: {} is {}, expected a JSON object", what_, place, Shown(object)));
  }
}

bool JsonFields::HasKey(const std::string& key) {
  known_.insert(key);
  return object_.contains(key);
}

const nlohmann::json* JsonFields::Get(const std::string& key) {
  known_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::string JsonFields::Found(const std::string& key) const {
  const auto found = object_.find(key);
  return fmt::format("{}{} is {}", prefix_, key,
                     found == object_.end() ? "missing" : Shown(*found));
}

std::string JsonFields::FoundUnknown(const std::string& key) const {
  return fmt::format("{} is {}", Quoted(prefix_ + key), Shown(object_.at(key)));
}

void JsonFields::Refuse(const std::string& key, std::string_view expected) const {
  throw InputError(fmt::format("{}: {}, expected {}", what_, Found(key), expected));
}

std::optional<int64_t> JsonFields::Int(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (!IsInt64(*value)) Refuse(key, "an integer");
  return value->get<int64_t>();
}

int64_t JsonFields::RequiredInt(const std::string& key) {
  const std::optional<int64_t> value = Int(key);
  if (!value.has_value()) Refuse(key, "an integer");
  return *value;
}

std::optional<double> JsonFields::Number(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) Refuse(key, "a finite number");
  return value->get<double>();
}

std::optional<bool> JsonFields::Bool(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) Refuse(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::String(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) Refuse(key, "a string");
  return value->get<std::string>();
}

std::optional<std::vector<std::string>> JsonFields::Strings(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || !std::all_of(value->begin(), value->end(),
                                         [](const auto& item) { return item.is_string(); })) {
    Refuse(key, "a list of strings");
  }
  return value->get<std::vector<std::string>>();
}

std::optional<std::vector<int64_t>> JsonFields::IntOrInts(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value == nullptr) return std::nullopt;
  if (IsInt64(*value)) return std::vector<int64_t>{value->get<int64_t>()};
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), IsInt64)) {
    Refuse(key, "an integer or a list of integers");
  }
  return value->get<std::vector<int64_t>>();
}

const nlohmann::json* JsonFields::Object(const std::string& key) {
  const nlohmann::json* const value = Get(key);
  if (value != nullptr && !value->is_object()) Refuse(key, "an object");
  return value;
}

std::vector<std::string> JsonFields::UnknownKeys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_.items()) {
    if (known_.count(key) == 0) unknown.push_back(key);
  }
  return unknown;
}

}  // namespace kvfold
