// tests/models/safetensors_writer.h: small safetensors files.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/tensor_table.h"
#include "tests/models/gguf_writer.h"

namespace kvfold {

class SafetensorsWriter {
 public:
  // Elements are all `value`.
  void Float32(const std::string& name, const std::vector<int64_t>& shape, float value = 1.0f) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::string bytes;
    for (int64_t i = 0; i < count; ++i) GgufWriter::Put<float>(bytes, value);
    Raw(name, "F32", shape, bytes);
  }
  void Raw(const std::string& name, std::string_view dtype, const std::vector<int64_t>& shape,
           std::string_view bytes) {
    header_[name] = {{"dtype", dtype},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
  }
  // Every tensor of the config, under the name that `rename` gives it ("" leaves it out).
  template <typename Rename>
  void Model(const ModelConfig& config, const Rename& rename) {
    for (const ModelTensor& tensor : ModelTensors(config)) {
      const std::string name = rename(tensor.name);
      if (name.empty()) continue;
      const bool is_vector = tensor.rows == 1;
      Float32(name, is_vector ? std::vector{tensor.cols} : std::vector{tensor.rows, tensor.cols});
    }
  }

  std::string Bytes() const {
    const std::string header = header_.dump();
    std::string out;
    GgufWriter::Put<uint64_t>(out, header.size());
    return out + header + data_;
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

}  // namespace kvfold
