// Checkpoint over the safetensors files of a Hugging Face folder.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/checkpoint/safetensors_file.h"
#include "models/checkpoint/tensor_names.h"
#include "models/json_file.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr uint64_t kMostIndexBytes = 100'000'000;

// The tensors of each file, in the order of file names.
using WeightMap = std::map<std::string, std::set<std::string>>;

WeightMap ReadIndex(const fs::path& index) {
  const nlohmann::json json = ReadJsonFile(index, kMostIndexBytes);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object() || map->empty()) {
    throw InputError(
        fmt::format("{}: weight_map is missing or no object of file names", index.string()));
  }
  WeightMap weight_map;
  for (const auto& [tensor, file] : map->items()) {
    // A name that leads out of the folder is not a shard of this model.
    if (!file.is_string() ||
        fs::path(file.get<std::string>()).filename() != file.get<std::string>() ||
        !file.get<std::string>().ends_with(".safetensors")) {
      throw InputError(fmt::format(
          "{}: weight_map gives tensor {} no name of a .safetensors file in this folder",
          index.string(), Quoted(tensor)));
    }
    weight_map[file.get<std::string>()].insert(tensor);
  }
  return weight_map;
}

// As transformers chooses: model.safetensors, else the index; else one file of any name. The map is
// empty for a single file.
std::pair<std::vector<fs::path>, WeightMap> ChooseFiles(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kSingleName, error)) return {{folder / kSingleName}, {}};
  std::vector<fs::path> files;
  if (fs::exists(folder / kIndexName, error)) {
    WeightMap weight_map = ReadIndex(folder / kIndexName);
    for (const auto& [name, tensors] : weight_map) files.push_back(folder / name);
    return {std::move(files), std::move(weight_map)};
  }
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") files.push_back(entry->path());
  }
  if (error)
    throw IoError(fmt::format("{}: cannot be listed: {}", folder.string(), error.message()));
  if (files.size() != 1) {
    throw InputError(
        fmt::format("{}: has {} *.safetensors files and no {}, expected one file or an index",
                    folder.string(), files.size(), kIndexName));
  }
  return {std::move(files), {}};
}

std::optional<StorageType> StorageOf(std::string_view dtype) {
  if (dtype == "F32") return StorageType::kF32;
  if (dtype == "F16") return StorageType::kF16;
  if (dtype == "BF16") return StorageType::kBF16;
  return std::nullopt;
}

// nullopt for a tensor that no model reads and that could not be listed: of another type, or
// neither a vector nor a matrix.
std::optional<StoredTensor> ReadTensor(const SafetensorsFile& file, const SafetensorsEntry& entry) {
  const std::optional<StorageType> type = StorageOf(entry.dtype);
  const size_t n_dims = entry.shape.size();
  const bool has_shape = (n_dims == 1 || n_dims == 2) && entry.bytes > 0;
  if (!type.has_value() || !has_shape) {
    if (!IsModelTensor(entry.name)) return std::nullopt;
    if (!type.has_value()) {
      throw InputError(fmt::format("{}: tensor {} is of type {}, expected F32, F16 or BF16",
                                   file.path(), entry.name, Quoted(entry.dtype)));
    }
    throw InputError(fmt::format("{}: tensor {} has the shape [{}], expected one or two dimensions",
                                 file.path(), entry.name, fmt::join(entry.shape, ", ")));
  }
  StoredTensor stored;
  stored.info = {entry.name, *type, n_dims == 2 ? entry.shape[0] : 1, entry.shape.back(),
                 entry.bytes};
  stored.data = file.file().data() + entry.offset_bytes;
  return stored;
}

void CheckListed(const SafetensorsFile& file, const std::set<std::string>& listed) {
  std::unordered_set<std::string_view> present;
  for (const SafetensorsEntry& entry : file.entries()) present.insert(entry.name);
  for (const std::string& name : listed) {
    if (present.count(name) == 0) {
      throw InputError(fmt::format("{}: has no tensor {}, which {} places there", file.path(),
                                   Quoted(name), kIndexName));
    }
  }
}

}  // namespace

std::unique_ptr<Checkpoint> OpenSafetensorsCheckpoint(const fs::path& folder) {
  const auto [paths, weight_map] = ChooseFiles(folder);
  std::vector<CheckpointFile> mapped;
  std::vector<StoredTensor> stored;
  for (const fs::path& path : paths) {
    SafetensorsFile file(path);
    const auto listed = weight_map.find(path.filename().string());
    if (listed != weight_map.end()) CheckListed(file, listed->second);
    for (const SafetensorsEntry& entry : file.entries()) {
      // A tensor that the index does not place in this file is in another one, or nobody's.
      if (listed != weight_map.end() && listed->second.count(entry.name) == 0) continue;
      if (auto tensor = ReadTensor(file, entry)) stored.push_back(std::move(*tensor));
    }
    const uint64_t head_bytes = file.head_bytes();
    mapped.push_back({std::move(file).TakeFile(), head_bytes});
  }
  return std::make_unique<MappedCheckpoint>(folder.string(), std::move(mapped), std::move(stored));
}

}  // namespace kvfold
