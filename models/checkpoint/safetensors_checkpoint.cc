// Checkpoint over the safetensors files of a Hugging Face folder.
#include <spdlog/spdlog.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/checkpoint/model_path.h"
#include "models/checkpoint/safetensors_file.h"
#include "models/checkpoint/tensor_naming.h"
#include "models/json_file.h"
#include "models/quoted.h"
#include "models/tensor_table.h"

namespace kvfold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr uint64_t kMostIndexBytes = 100'000'000;

// An index: which file a tensor is in.
using WeightMap = std::map<std::string, std::string, std::less<>>;

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
    weight_map.emplace(tensor, file.get<std::string>());
  }
  return weight_map;
}

// As transformers chooses: model.safetensors, else the index; else one file of any name. The map is
// empty for a single file. Files in the order of their names.
std::pair<std::vector<fs::path>, WeightMap> ChooseFiles(const fs::path& folder) {
  if (HasEntry(folder / kSingleName)) return {{folder / kSingleName}, {}};
  std::vector<fs::path> files;
  if (HasEntry(folder / kIndexName)) {
    WeightMap weight_map = ReadIndex(folder / kIndexName);
    std::set<std::string> names;
    for (const auto& [tensor, name] : weight_map) names.insert(name);
    for (const std::string& name : names) files.push_back(folder / name);
    return {std::move(files), std::move(weight_map)};
  }
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") files.push_back(entry->path());
  }
  if (error)
    throw IoError(fmt::format("{}: cannot be listed: {}", folder.string(), error.message()));
  if (files.size() != 1) {
    RefuseFolder(folder,
                 fmt::format("has {} *.safetensors files and no {}", files.size(), kIndexName),
                 "one file or an index");
  }
  return {std::move(files), {}};
}

std::optional<StorageType> StorageOf(std::string_view dtype) {
  if (dtype == "F32") return StorageType::kF32;
  if (dtype == "F16") return StorageType::kF16;
  if (dtype == "BF16") return StorageType::kBF16;
  return std::nullopt;
}

// `model_name`: what the tensor is to a model here, or "". nullopt for a tensor that no model reads
// and that could not be listed: of another type, or neither a vector nor a matrix.
std::optional<StoredTensor> ReadTensor(const SafetensorsFile& file, const SafetensorsEntry& entry,
                                       const std::string& model_name) {
  const std::optional<StorageType> type = StorageOf(entry.dtype);
  const size_t n_dims = entry.shape.size();
  const bool has_shape = (n_dims == 1 || n_dims == 2) && entry.bytes > 0;
  if (!type.has_value() || !has_shape) {
    if (model_name.empty()) return std::nullopt;
    if (!type.has_value()) {
      throw InputError(fmt::format("{}: tensor {} is of type {}, expected F32, F16 or BF16",
                                   file.path(), entry.name, Quoted(entry.dtype)));
    }
    throw InputError(fmt::format("{}: tensor {} has the shape [{}], expected one or two dimensions",
                                 file.path(), entry.name, fmt::join(entry.shape, ", ")));
  }
  StoredTensor stored;
  stored.info = {model_name.empty() ? entry.name : model_name, *type,
                 n_dims == 2 ? entry.shape[0] : 1, entry.shape.back(), entry.bytes};
  stored.data = file.file().data() + entry.offset_bytes;
  return stored;
}

// A tensor by its name in the files, and the file that it is read from.
struct Place {
  const SafetensorsFile* file = nullptr;
  const SafetensorsEntry* entry = nullptr;
  const SafetensorsFile* other = nullptr;  // has it too, and no index says which is meant
};

// One place for every name: where several files have it, the one that the index says.
std::map<std::string_view, Place> ChoosePlaces(const std::vector<SafetensorsFile>& files,
                                               const WeightMap& weight_map) {
  std::map<std::string_view, Place> places;
  for (const SafetensorsFile& file : files) {
    for (const SafetensorsEntry& entry : file.entries()) {
      Place& place = places[entry.name];
      if (place.file == nullptr) {
        place = {&file, &entry};
        continue;
      }
      const auto listed = weight_map.find(entry.name);
      const auto is_listed = [&](const SafetensorsFile& candidate) {
        return listed != weight_map.end() &&
               fs::path(candidate.path()).filename() == listed->second;
      };
      if (is_listed(file)) {
        place = {&file, &entry};
      } else if (!is_listed(*place.file)) {
        place.other = &file;
      }
    }
  }
  return places;
}

}  // namespace

std::unique_ptr<MappedCheckpoint> OpenSafetensorsCheckpoint(const fs::path& folder) {
  const auto [paths, weight_map] = ChooseFiles(folder);
  std::vector<SafetensorsFile> files;
  for (const fs::path& path : paths) files.emplace_back(path);
  const std::map<std::string_view, Place> places = ChoosePlaces(files, weight_map);

  std::vector<std::string_view> present;
  for (const auto& [name, place] : places) present.push_back(name);
  const TensorNaming naming = FindTensorNaming(present, folder.string());
  if (naming != TensorNaming()) {
    spdlog::info(
        "{}: its tensors are called {} and {}: read as \"model.layers.0...\" and "
        "\"lm_head.weight\"",
        folder.string(), Quoted(naming.body + "layers.0..."), Quoted(naming.head));
  }
  FileNames names;
  names.stored_name = [naming](std::string_view name) { return NameInNaming(naming, name); };
  for (const auto& [name, file] : weight_map) {
    if (places.count(name) == 0) {
      names.placed[name] = fmt::format("{} places it in {}", kIndexName, file);
    }
  }
  std::vector<StoredTensor> stored;
  for (const auto& [name, place] : places) {
    const auto model_name = NameFromNaming(naming, name);
    if (!model_name.has_value()) {
      const SafetensorsEntry& entry = *place.entry;
      if (IsOfModel(naming, name) && entry.bytes > 0 &&
          !IsHarmlessTensor(name, entry.shape.size())) {
        names.unknown.emplace_back(name);
      }
      if (IsModelTensor(name)) continue;  // its name means something else in this naming
    }
    if (model_name.has_value() && place.other != nullptr) {
      throw InputError(fmt::format("{}: tensor {} is also in {}, and {} names neither",
                                   place.file->path(), Quoted(name), place.other->path(),
                                   kIndexName));
    }
    if (auto tensor = ReadTensor(*place.file, *place.entry, model_name.value_or(""))) {
      stored.push_back(std::move(*tensor));
    }
  }
  std::vector<CheckpointFile> mapped;
  for (SafetensorsFile& file : files) {
    const uint64_t head_bytes = file.head_bytes();
    mapped.push_back({std::move(file).TakeFile(), head_bytes});
  }
  return std::make_unique<MappedCheckpoint>(folder.string(), std::move(mapped), std::move(stored),
                                            std::move(names));
}

}  // namespace kvfold
