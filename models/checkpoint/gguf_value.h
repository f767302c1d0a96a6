// models/checkpoint/gguf_value.h: one metadata value of a GGUF file: a number, a string, or an
// array of one kind, which may itself be an array. Strings and numeric arrays are views into the
// mapped file and die with it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace kvfold {

// The numbers are the file's.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
std::string_view GgufTypeName(GgufType type);
// Bytes of one number or bool in the file; 0 for strings, arrays and types that do not exist.
int64_t GgufTypeBytes(GgufType type);

struct GgufArray {
  GgufType element_type = GgufType::kUint8;
  uint64_t count = 0;
  std::span<const uint8_t> numbers;  // numbers and bools: count of them, little-endian, not aligned
  std::vector<std::string_view> strings;  // kString
  std::vector<GgufArray> arrays;          // kArray

  // Element i. Requires i < count; that the elements are integers or bools for Int, not strings or
  // arrays for Float. Int wraps a uint64 that is too large.
  int64_t Int(uint64_t i) const;
  double Float(uint64_t i) const;
};

struct GgufValue {
  GgufType type = GgufType::kUint8;
  // Bools and integers are int64_t, kUint64 is uint64_t, both floats are double.
  std::variant<int64_t, uint64_t, double, std::string_view, GgufArray> value;
};

// Reads one number of a type with GgufTypeBytes(type) > 0 from its bytes.
GgufValue ReadGgufNumber(GgufType type, const uint8_t* bytes);

}  // namespace kvfold
