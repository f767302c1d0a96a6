#include "models/checkpoint/gguf_split.h"

#include <string>
#include <unordered_set>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

std::string Part(int64_t number, int64_t count) {
  return fmt::format("-{:05}-of-{:05}", number + 1, count);
}

void CheckTensors(const std::vector<GgufFile>& files) {
  std::unordered_set<std::string_view> names;
  for (const GgufFile& file : files) {
    for (const GgufTensor& tensor : file.tensors()) {
      if (!names.insert(tensor.name).second) {
        throw InputError(fmt::format("{}: tensor {} is also in another file of the split",
                                     file.path(), Quoted(tensor.name)));
      }
    }
  }
  const int64_t expected =
      files.front().Int("split.tensors.count", static_cast<int64_t>(names.size()));
  if (files.size() > 1 && expected != static_cast<int64_t>(names.size())) {
    throw InputError(fmt::format("{}: split.tensors.count is {}, but its {} files have {} tensors",
                                 files.front().path(), expected, files.size(), names.size()));
  }
}

}  // namespace

std::vector<GgufFile> OpenGgufSplit(const std::filesystem::path& first) {
  constexpr int64_t kMostFiles = 99999;
  std::vector<GgufFile> files;
  files.emplace_back(first);
  const std::string path = files.front().path();
  const int64_t count = files.front().Int("split.count", 1);
  const int64_t number = files.front().Int("split.no", 0);
  if (count < 0 || count > kMostFiles) {
    throw InputError(
        fmt::format("{}: split.count is {}, expected 0 to {}", path, count, kMostFiles));
  }
  if (count <= 1) return files;
  if (number != 0) {
    throw InputError(fmt::format("{}: part {} of a split model, expected the first, \"...{}.gguf\"",
                                 path, number + 1, Part(0, count)));
  }
  // The other parts are called as the first is, whatever stands behind the last point (".GGUF").
  const std::string extension = first.extension().string();
  std::string stem = path.substr(0, path.size() - extension.size());
  if (!stem.ends_with(Part(0, count))) {
    throw InputError(
        fmt::format("{}: the first of {} parts, expected its name to end in \"{}.gguf\"", path,
                    count, Part(0, count)));
  }
  stem.resize(stem.size() - Part(0, count).size());
  for (int64_t i = 1; i < count; ++i) {
    const GgufFile& file = files.emplace_back(stem + Part(i, count) + extension);
    if (file.Int("split.no", 0) != i || file.Int("split.count", 1) != count) {
      throw InputError(fmt::format("{}: says it is part {} of {}, expected part {} of {}",
                                   file.path(), file.Int("split.no", 0) + 1,
                                   file.Int("split.count", 1), i + 1, count));
    }
  }
  CheckTensors(files);
  return files;
}

const GgufTensor* FindTensor(const std::vector<GgufFile>& files, std::string_view name) {
  for (const GgufFile& file : files) {
    if (const GgufTensor* const tensor = file.FindTensor(name)) return tensor;
  }
  return nullptr;
}

}  // namespace kvfold
