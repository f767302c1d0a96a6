// tests/support/fixture.h: reads the tiny checkpoints' references (scripts/make_fixtures.py).
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace kvfold {

inline std::filesystem::path FixtureModel(const std::string& name) {
  return std::filesystem::path(KVFOLD_FIXTURES) / "models" / name;
}

// The names of all of them, sorted.
inline std::vector<std::string> FixtureModels() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(KVFOLD_FIXTURES) / "models")) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}
// What a program opens: the folder, or the .gguf file in it.
inline std::filesystem::path FixtureCheckpoint(const std::string& name) {
  const auto gguf = FixtureModel(name) / "model.gguf";
  return std::filesystem::exists(gguf) ? gguf : FixtureModel(name);
}

inline nlohmann::json ReadJson(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("no fixture " + path.string());
  return nlohmann::json::parse(file);
}

inline std::vector<int32_t> ReadTokens(const std::filesystem::path& path) {
  return ReadJson(path).get<std::vector<int32_t>>();
}

// The data of a little-endian .npy file of 4-byte elements, C order; the shape is the caller's to
// know.
template <typename T>
std::vector<T> ReadNpy(const std::filesystem::path& path) {
  static_assert(sizeof(T) == 4);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no fixture " + path.string());
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const size_t header =
      10 + static_cast<unsigned char>(bytes.at(8)) + 256u * static_cast<unsigned char>(bytes.at(9));
  std::vector<T> data((bytes.size() - header) / sizeof(T));
  std::copy_n(bytes.data() + header, data.size() * sizeof(T), reinterpret_cast<char*>(data.data()));
  return data;
}

}  // namespace kvfold
