#include "models/checkpoint/gguf_file.h"

#include <limits>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

bool IsInteger(GgufType type) {
  return GgufTypeBytes(type) > 0 && type != GgufType::kBool && type != GgufType::kFloat32 &&
         type != GgufType::kFloat64;
}

std::string KindOf(const GgufValue& value) {
  if (value.type != GgufType::kArray) return std::string(GgufTypeName(value.type));
  return fmt::format("array of {}", GgufTypeName(std::get<GgufArray>(value.value).element_type));
}

}  // namespace

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue& GgufFile::Get(std::string_view key) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) {
    throw InputError(fmt::format("{}: the metadata has no key {}", path(), Quoted(key)));
  }
  return *value;
}

void GgufFile::WrongKind(std::string_view key, const GgufValue& value,
                         std::string_view expected) const {
  throw InputError(fmt::format("{}: metadata key {} is of type {}, expected {}", path(),
                               Quoted(key), KindOf(value), expected));
}

const GgufArray& GgufFile::GetArray(std::string_view key) const {
  const GgufValue& value = Get(key);
  if (value.type != GgufType::kArray) WrongKind(key, value, "an array");
  return std::get<GgufArray>(value.value);
}

std::string_view GgufFile::String(std::string_view key) const {
  const GgufValue& value = Get(key);
  if (value.type != GgufType::kString) WrongKind(key, value, "a string");
  return std::get<std::string_view>(value.value);
}

int64_t GgufFile::Int(std::string_view key) const {
  const GgufValue& value = Get(key);
  if (!IsInteger(value.type)) WrongKind(key, value, "an integer");
  if (const auto* const small = std::get_if<int64_t>(&value.value)) return *small;
  const uint64_t big = std::get<uint64_t>(value.value);
  if (big > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    throw InputError(fmt::format("{}: metadata key {} is {}, expected less than 2^63", path(),
                                 Quoted(key), big));
  }
  return static_cast<int64_t>(big);
}

double GgufFile::Float(std::string_view key) const {
  const GgufValue& value = Get(key);
  if (const auto* const real = std::get_if<double>(&value.value)) return *real;
  if (!IsInteger(value.type)) WrongKind(key, value, "a number");
  return static_cast<double>(Int(key));
}

bool GgufFile::Bool(std::string_view key) const {
  const GgufValue& value = Get(key);
  if (value.type != GgufType::kBool) WrongKind(key, value, "a bool");
  return std::get<int64_t>(value.value) != 0;
}

std::string_view GgufFile::String(std::string_view key, std::string_view fallback) const {
  return Has(key) ? String(key) : fallback;
}
int64_t GgufFile::Int(std::string_view key, int64_t fallback) const {
  return Has(key) ? Int(key) : fallback;
}
double GgufFile::Float(std::string_view key, double fallback) const {
  return Has(key) ? Float(key) : fallback;
}
bool GgufFile::Bool(std::string_view key, bool fallback) const {
  return Has(key) ? Bool(key) : fallback;
}

const std::vector<std::string_view>& GgufFile::StringArray(std::string_view key) const {
  const GgufArray& array = GetArray(key);
  if (array.element_type != GgufType::kString) WrongKind(key, Get(key), "an array of strings");
  return array.strings;
}

std::vector<int64_t> GgufFile::IntArray(std::string_view key) const {
  const GgufArray& array = GetArray(key);
  if (!IsInteger(array.element_type)) WrongKind(key, Get(key), "an array of integers");
  std::vector<int64_t> values(array.count);
  for (uint64_t i = 0; i < array.count; ++i) {
    values[i] = array.Int(i);
    if (array.element_type == GgufType::kUint64 && values[i] < 0) {
      throw InputError(fmt::format("{}: metadata key {} has {} at [{}], expected less than 2^63",
                                   path(), Quoted(key), static_cast<uint64_t>(values[i]), i));
    }
  }
  return values;
}

std::vector<float> GgufFile::FloatArray(std::string_view key) const {
  const GgufArray& array = GetArray(key);
  if (array.element_type != GgufType::kFloat32 && array.element_type != GgufType::kFloat64 &&
      !IsInteger(array.element_type)) {
    WrongKind(key, Get(key), "an array of numbers");
  }
  std::vector<float> values(array.count);
  for (uint64_t i = 0; i < array.count; ++i) values[i] = static_cast<float>(array.Float(i));
  return values;
}

}  // namespace kvfold
