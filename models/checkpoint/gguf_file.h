// models/checkpoint/gguf_file.h: the head of a GGUF file (version 2 or 3, little-endian): its
// metadata and its tensor directory. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
//   const GgufFile file(path);
//   const std::string_view model = file.String("tokenizer.ggml.model");
//   for (const std::string_view token : file.StringArray("tokenizer.ggml.tokens")) ...
//
// The file is mapped; opening reads the head only. Every count, length and offset is checked
// against the file's size before it is used. Immutable after opening, move-only; strings and arrays
// are views that live as long as the GgufFile (a move keeps them).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/checkpoint/gguf_value.h"
#include "models/checkpoint/mapped_file.h"

namespace kvfold {

// One entry of the tensor directory, as the file has it.
struct GgufTensor {
  std::string_view name;
  // At most 4, each >= 0, fastest first: dims[0] is the number of columns. Their product is within
  // int64_t.
  std::vector<int64_t> dims;
  uint32_t type = 0;          // see ggml_type.h
  uint64_t offset_bytes = 0;  // from the start of the file
  // [offset_bytes, offset_bytes + bytes) is in the file; -1 where the type is not known.
  int64_t bytes = -1;
};

class GgufFile {
 public:
  // Throws InputError naming the file, the key or tensor, what was found and what was expected;
  // IoError where mapping fails.
  explicit GgufFile(const std::filesystem::path& path);

  const std::string& path() const { return file_.path(); }
  const MappedFile& file() const { return file_; }
  // The mapping, for a reader of tensors that has seen what it needs of the head. Leaves this
  // object to be destroyed only.
  MappedFile TakeFile() && { return std::move(file_); }
  uint32_t version() const { return version_; }
  uint64_t head_bytes() const { return head_bytes_; }  // magic to the end of the tensor directory
  uint64_t alignment_bytes() const { return alignment_bytes_; }

  const std::unordered_map<std::string_view, GgufValue>& values() const { return values_; }
  // nullptr where the file has no such key.
  const GgufValue* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // The value of `key`. Throws InputError where it is missing or of another kind (an integer where
  // a float is asked is taken).
  std::string_view String(std::string_view key) const;
  int64_t Int(std::string_view key) const;
  double Float(std::string_view key) const;
  bool Bool(std::string_view key) const;
  // The same with `fallback` where the key is missing; of another kind still throws.
  std::string_view String(std::string_view key, std::string_view fallback) const;
  int64_t Int(std::string_view key, int64_t fallback) const;
  double Float(std::string_view key, double fallback) const;
  bool Bool(std::string_view key, bool fallback) const;
  // Arrays: throw where the key is missing or no array of that kind.
  const std::vector<std::string_view>& StringArray(std::string_view key) const;
  std::vector<int64_t> IntArray(std::string_view key) const;
  std::vector<float> FloatArray(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;  // nullptr where there is none

 private:
  class Cursor;

  const GgufValue& Get(std::string_view key) const;
  const GgufArray& GetArray(std::string_view key) const;
  [[noreturn]] void WrongKind(std::string_view key, const GgufValue& value,
                              std::string_view expected) const;
  void ReadMetadata(Cursor& cursor, uint64_t count);
  void ReadTensors(Cursor& cursor, uint64_t count);
  void CheckExtents();

  MappedFile file_;
  uint32_t version_ = 0;
  uint64_t head_bytes_ = 0;
  uint64_t alignment_bytes_ = 32;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace kvfold
