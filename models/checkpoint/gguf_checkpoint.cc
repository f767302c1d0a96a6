// Checkpoint over GGUF files: names and row order put back to Hugging Face's.
#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/ggml_type.h"
#include "models/checkpoint/gguf_split.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/checkpoint/tensor_naming.h"
#include "models/quoted.h"
#include "models/tensor_table.h"

namespace kvfold {
namespace {

// Head counts of an architecture whose Q and K rows are permuted; 0 otherwise.
struct PermutedHeads {
  int64_t query = 0;
  int64_t key = 0;
};

// llama.cpp's convert_hf_to_gguf permutes the rows of Q and K of LlamaForCausalLM and
// MistralForCausalLM (architecture "llama"), weights and biases, for its own RoPE on neighbouring
// pairs; those of Qwen2 it leaves alone.
PermutedHeads ReadPermutedHeads(const GgufFile& file) {
  if (file.String("general.architecture") != "llama") return {};
  const auto read = [&file](std::string_view key, int64_t fallback) {
    const GgufValue* const value = file.Find(key);
    if (value == nullptr || value->type != GgufType::kArray) return file.Int(key, fallback);
    const std::vector<int64_t> by_layer = file.IntArray(key);
    return by_layer.empty() ? fallback
                            : by_layer.front();  // ReadModelConfig refuses differing ones
  };
  PermutedHeads heads;
  heads.query = read("llama.attention.head_count", 0);
  heads.key = read("llama.attention.head_count_kv", heads.query);
  if (heads.query < 1 || heads.key < 1) {
    throw InputError(fmt::format(
        "{}: llama.attention.head_count is {} and head_count_kv {}, expected positive numbers",
        file.path(), heads.query, heads.key));
  }
  return heads;
}

// False where it is no matrix, no vector, or of no elements.
bool ReadShape(const GgufTensor& tensor, TensorInfo* info) {
  if (tensor.dims.empty()) return false;
  info->cols = tensor.dims[0];
  info->rows = tensor.dims.size() > 1 ? tensor.dims[1] : 1;
  for (size_t d = 2; d < tensor.dims.size(); ++d) {
    if (tensor.dims[d] != 1) return false;
  }
  return info->rows > 0 && info->cols > 0;
}

std::string Shape(const GgufTensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.dims, ", "));
}

int64_t PermutedHeadsOf(const TensorInfo& info, const PermutedHeads& heads,
                        const std::string& path) {
  const auto place = FindTensorPlace(info.name);
  if (!place.has_value() || !place->row->is_permuted) return 0;
  const int64_t n_heads = place->row->out_dim() == TensorDim::kQWidth ? heads.query : heads.key;
  if (n_heads == 0) return 0;
  const int64_t n_rows = info.rows > 1 ? info.rows : info.cols;
  if (n_rows % n_heads != 0 || n_rows / n_heads % 2 != 0) {
    throw InputError(
        fmt::format("{}: tensor {} has {} rows, expected an even number for each of {} heads", path,
                    info.name, n_rows, n_heads));
  }
  return n_heads;
}

// A tensor of the model that no model here reads. Those of other parts have prefixes of their own:
// v. (vision), a. (audio), mm. (what projects them).
bool IsUnknown(const GgufTensor& tensor) {
  if (tensor.name == "rope_freqs.weight" || tensor.bytes == 0) return false;
  for (const std::string_view part : {"v.", "a.", "mm."}) {
    if (tensor.name.starts_with(part)) return false;
  }
  return !IsHarmlessTensor(tensor.name, tensor.dims.size());
}

}  // namespace

std::unique_ptr<MappedCheckpoint> OpenGgufCheckpoint(const std::filesystem::path& path) {
  std::vector<GgufFile> files = OpenGgufSplit(path);
  const PermutedHeads heads = ReadPermutedHeads(files.front());
  std::vector<StoredTensor> stored;
  std::unordered_set<std::string> names;
  FileNames file_names;
  const bool post_norms = std::ranges::any_of(
      files, [](const GgufFile& file) { return file.FindTensor(kGgufPostNorm) != nullptr; });
  file_names.stored_name = [post_norms](std::string_view name) {
    return NameInGguf(name, post_norms);
  };
  for (const GgufFile& file : files) {
    for (const GgufTensor& tensor : file.tensors()) {
      const auto model_name = NameFromGguf(tensor.name, post_norms);
      const GgmlType* const type = FindGgmlType(tensor.type);
      if (!model_name.has_value() && IsUnknown(tensor)) {
        file_names.unknown.emplace_back(tensor.name);
      }
      StoredTensor entry;
      entry.info.name = model_name.value_or(std::string(tensor.name));
      const bool has_shape = ReadShape(tensor, &entry.info);
      if (type == nullptr || !type->storage.has_value() || !has_shape) {
        if (!model_name.has_value()) continue;  // nobody reads it
        if (!has_shape) {
          throw InputError(
              fmt::format("{}: tensor {} has the shape {}, expected one or two dimensions",
                          file.path(), tensor.name, Shape(tensor)));
        }
        throw InputError(fmt::format("{}: tensor {} is of type {}, expected {}", file.path(),
                                     tensor.name, GgmlTypeName(tensor.type), ReadableGgmlTypes()));
      }
      entry.info.type = *type->storage;
      entry.info.bytes = tensor.bytes;
      entry.data = file.file().data() + tensor.offset_bytes;
      entry.permuted_heads = PermutedHeadsOf(entry.info, heads, file.path());
      if (!names.insert(entry.info.name).second) {
        throw InputError(fmt::format("{}: tensor {} is there by GGUF's name and by Hugging Face's",
                                     file.path(), Quoted(entry.info.name)));
      }
      stored.push_back(std::move(entry));
    }
  }
  std::string first_path = files.front().path();
  std::vector<CheckpointFile> mapped;
  for (GgufFile& file : files) {
    const uint64_t head_bytes = file.head_bytes();
    mapped.push_back({std::move(file).TakeFile(), head_bytes});
  }
  return std::make_unique<MappedCheckpoint>(std::move(first_path), std::move(mapped),
                                            std::move(stored), std::move(file_names));
}

}  // namespace kvfold
