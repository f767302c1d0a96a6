// tests/models/gguf_writer.h: writes small GGUF files, right ones and, by asking for it, wrong
// ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/checkpoint/gguf_value.h"

namespace kvfold {

class GgufWriter {
 public:
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t alignment_bytes = 32;
  // Added to the counts that the head claims.
  int64_t tensor_count_lie = 0;
  int64_t metadata_count_lie = 0;

  template <typename T>
  static void Put(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static void PutString(std::string& out, std::string_view text) {
    Put<uint64_t>(out, text.size());
    out += text;
  }

  // A key with the bytes of its value as they stand in the file.
  void Raw(std::string_view key, uint32_t type, std::string_view bytes) {
    PutString(metadata_, key);
    Put<uint32_t>(metadata_, type);
    metadata_ += bytes;
    ++n_values_;
  }
  template <typename T>
  void Number(std::string_view key, GgufType type, T value) {
    std::string bytes;
    Put<T>(bytes, value);
    Raw(key, static_cast<uint32_t>(type), bytes);
  }
  void Uint32(std::string_view key, uint32_t value) { Number(key, GgufType::kUint32, value); }
  void Float32(std::string_view key, float value) { Number(key, GgufType::kFloat32, value); }
  void Bool(std::string_view key, bool value) { Number<uint8_t>(key, GgufType::kBool, value); }
  void String(std::string_view key, std::string_view value) {
    std::string bytes;
    PutString(bytes, value);
    Raw(key, static_cast<uint32_t>(GgufType::kString), bytes);
  }
  void StringArray(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = ArrayHead(GgufType::kString, values.size());
    for (const std::string& value : values) PutString(bytes, value);
    Raw(key, static_cast<uint32_t>(GgufType::kArray), bytes);
  }
  template <typename T>
  void NumberArray(std::string_view key, GgufType type, const std::vector<T>& values) {
    std::string bytes = ArrayHead(type, values.size());
    for (const T& value : values) Put<T>(bytes, value);
    Raw(key, static_cast<uint32_t>(GgufType::kArray), bytes);
  }
  static std::string ArrayHead(GgufType type, uint64_t count) {
    std::string bytes;
    Put<uint32_t>(bytes, static_cast<uint32_t>(type));
    Put<uint64_t>(bytes, count);
    return bytes;
  }

  // `dims` fastest first, as in the file; `bytes` is the stored data. The offset follows the
  // tensors before it.
  void Tensor(std::string_view name, const std::vector<int64_t>& dims, uint32_t type,
              std::string_view bytes) {
    data_.resize((data_.size() + alignment_bytes - 1) / alignment_bytes * alignment_bytes);
    TensorAt(name, dims, type, data_.size());
    data_ += bytes;
  }
  // A directory entry alone.
  void TensorAt(std::string_view name, const std::vector<int64_t>& dims, uint32_t type,
                uint64_t offset_bytes) {
    PutString(directory_, name);
    Put<uint32_t>(directory_, static_cast<uint32_t>(dims.size()));
    for (const int64_t dim : dims) Put<int64_t>(directory_, dim);
    Put<uint32_t>(directory_, type);
    Put<uint64_t>(directory_, offset_bytes);
    ++n_tensors_;
  }
  void Float32Tensor(std::string_view name, const std::vector<int64_t>& dims,
                     const std::vector<float>& values) {
    Tensor(name, dims, /*type=*/0,
           {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  std::string Bytes() const {
    std::string out;
    Put<uint32_t>(out, magic);
    Put<uint32_t>(out, version);
    Put<uint64_t>(out, n_tensors_ + static_cast<uint64_t>(tensor_count_lie));
    Put<uint64_t>(out, n_values_ + static_cast<uint64_t>(metadata_count_lie));
    out += metadata_;
    out += directory_;
    out.resize((out.size() + alignment_bytes - 1) / alignment_bytes * alignment_bytes);
    return out + data_;
  }

 private:
  std::string metadata_;
  std::string directory_;
  std::string data_;
  uint64_t n_tensors_ = 0;
  uint64_t n_values_ = 0;
};

}  // namespace kvfold
