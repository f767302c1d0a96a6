#include "models/checkpoint/gguf_value.h"

#include <cstring>

#include "comm/error.h"

namespace kvfold {
namespace {

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
      return "uint8";
    case GgufType::kInt8:
      return "int8";
    case GgufType::kUint16:
      return "uint16";
    case GgufType::kInt16:
      return "int16";
    case GgufType::kUint32:
      return "uint32";
    case GgufType::kInt32:
      return "int32";
    case GgufType::kFloat32:
      return "float32";
    case GgufType::kBool:
      return "bool";
    case GgufType::kString:
      return "string";
    case GgufType::kArray:
      return "array";
    case GgufType::kUint64:
      return "uint64";
    case GgufType::kInt64:
      return "int64";
    case GgufType::kFloat64:
      return "float64";
  }
  return "unknown";
}

int64_t GgufTypeBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

GgufValue ReadGgufNumber(GgufType type, const uint8_t* bytes) {
  switch (type) {
    case GgufType::kUint8:
      return {type, int64_t{Load<uint8_t>(bytes)}};
    case GgufType::kInt8:
      return {type, int64_t{Load<int8_t>(bytes)}};
    case GgufType::kUint16:
      return {type, int64_t{Load<uint16_t>(bytes)}};
    case GgufType::kInt16:
      return {type, int64_t{Load<int16_t>(bytes)}};
    case GgufType::kUint32:
      return {type, int64_t{Load<uint32_t>(bytes)}};
    case GgufType::kInt32:
      return {type, int64_t{Load<int32_t>(bytes)}};
    case GgufType::kFloat32:
      return {type, double{Load<float>(bytes)}};
    case GgufType::kBool:
      return {type, int64_t{Load<uint8_t>(bytes) != 0}};
    case GgufType::kUint64:
      return {type, Load<uint64_t>(bytes)};
    case GgufType::kInt64:
      return {type, Load<int64_t>(bytes)};
    case GgufType::kFloat64:
      return {type, Load<double>(bytes)};
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  KVFOLD_CHECK(false, "type", GgufTypeName(type));
  return {};
}

int64_t GgufArray::Int(uint64_t i) const {
  KVFOLD_CHECK(i < count, "i", i, "count", count);
  const int64_t bytes = GgufTypeBytes(element_type);
  const GgufValue number = ReadGgufNumber(element_type, numbers.data() + i * bytes);
  if (const auto* const big = std::get_if<uint64_t>(&number.value))
    return static_cast<int64_t>(*big);
  return std::get<int64_t>(number.value);
}

double GgufArray::Float(uint64_t i) const {
  KVFOLD_CHECK(i < count, "i", i, "count", count);
  const int64_t bytes = GgufTypeBytes(element_type);
  const GgufValue number = ReadGgufNumber(element_type, numbers.data() + i * bytes);
  if (const auto* const real = std::get_if<double>(&number.value)) return *real;
  return static_cast<double>(Int(i));
}

}  // namespace kvfold
