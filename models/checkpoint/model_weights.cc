#include "models/checkpoint/model_weights.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/checkpoint/model_path.h"
#include "models/quoted.h"
#include "models/tensor_table.h"

namespace kvfold {
namespace {

// "a.layers.3.b" and "blk.3.b" -> "a.layers.*.b" and "blk.*.b".
std::string WithoutLayer(std::string_view name) {
  for (const std::string_view word : {"layers.", "blk."}) {
    const size_t at = name.find(word);
    if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) continue;
    const size_t begin = at + word.size();
    const size_t end = name.find_first_not_of("0123456789", begin);
    if (end == std::string_view::npos || end == begin || name[end] != '.') continue;
    return fmt::format("{}*{}", name.substr(0, begin), name.substr(end));
  }
  return std::string(name);
}

// Names grouped over the layers, the first few and how many more there are: "a tensor \"x\"",
// "tensors \"model.layers.*.y\" (24 layers), \"z\"".
std::string Listed(const std::vector<std::string>& names) {
  constexpr size_t kMostListed = 8;
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  std::unordered_map<std::string, size_t> places;
  for (const std::string& name : names) {
    const std::string group = WithoutLayer(name);
    const auto [place, is_new] = places.emplace(group, groups.size());
    if (is_new) groups.emplace_back(group, std::vector<std::string>{});
    groups[place->second].second.push_back(name);
  }
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(groups.size(), kMostListed); ++i) {
    const auto& [group, members] = groups[i];
    parts.push_back(members.size() == 1
                        ? Quoted(members.front())
                        : fmt::format("{} ({} layers)", Quoted(group), members.size()));
  }
  std::string text =
      fmt::format("{}{}", names.size() == 1 ? "tensor " : "tensors ", fmt::join(parts, ", "));
  if (groups.size() > kMostListed) {
    text +=
        fmt::format(" and {} more ({} tensors in all)", groups.size() - kMostListed, names.size());
  }
  return text;
}

bool IsIgnored(const std::string& name, const ConfigOptions& options) {
  const auto has = [&](const std::string& key) {
    return std::ranges::find(options.ignored_keys, key) != options.ignored_keys.end();
  };
  return has(name) || has(WithoutLayer(name));
}

class Check {
 public:
  Check(MappedCheckpoint& checkpoint, const ModelConfig& config, const ConfigOptions& options)
      : checkpoint_(checkpoint), config_(config), options_(options) {}

  void Run() {
    if (config_.tie_embeddings) SettleTie();
    FindMissing();
    FindUnknown();
    if (sentences_.empty()) return;
    throw InputError(fmt::format("{}: {}", checkpoint_.path(), fmt::join(sentences_, "; ")));
  }

 private:
  std::string Stored(std::string_view name) const { return checkpoint_.names().stored_name(name); }

  // What the config calls one matrix may stand under either name, or under both.
  void SettleTie() {
    const TensorInfo* const embedding = checkpoint_.Find(kEmbeddingTensor);
    const TensorInfo* const head = checkpoint_.Find(kHeadTensor);
    if (head == nullptr) return;
    if (embedding == nullptr) return checkpoint_.AddAlias(kEmbeddingTensor, kHeadTensor);
    if (SeemEqual(*embedding, *head)) return;
    spdlog::warn(
        "{}: tie_word_embeddings is true, and {} differs from {}: the embedding is used for both, "
        "as the config says and transformers 4 does; transformers 5 would use the head (set "
        "tie_word_embeddings to false for that)",
        checkpoint_.path(), Stored(kHeadTensor), Stored(kEmbeddingTensor));
  }

  // By rows spread over all of them: only a warning hangs on it, and reading a whole vocabulary
  // twice would take as long as loading it.
  bool SeemEqual(const TensorInfo& a, const TensorInfo& b) const {
    constexpr int64_t kRows = 64;
    if (a.rows != b.rows || a.cols != b.cols) return false;
    const auto cols = static_cast<size_t>(a.cols);
    std::vector<float> row_a(cols), row_b(cols);
    for (int64_t i = 0; i < std::min(kRows, a.rows); ++i) {
      const int64_t row = a.rows <= kRows ? i : i * (a.rows - 1) / (kRows - 1);
      checkpoint_.ReadBlock(a, row, row + 1, 0, a.cols, row_a.data());
      checkpoint_.ReadBlock(b, row, row + 1, 0, b.cols, row_b.data());
      if (row_a != row_b) return false;
    }
    return true;
  }

  void FindMissing() {
    std::vector<std::string> missing, shapes;
    std::string expected;
    size_t n_shapes = 0;
    for (const ModelTensor& tensor : ModelTensors(config_)) {
      expected_.insert(tensor.name);
      const TensorInfo* const found = checkpoint_.Find(tensor.name);
      if (found == nullptr) {
        if (missing.empty()) {
          expected = fmt::format("[{}, {}]", tensor.rows, tensor.cols);
        }
        missing.push_back(Stored(tensor.name));
      } else if (found->rows != tensor.rows || found->cols != tensor.cols) {
        constexpr size_t kMostShapes = 3;
        if (++n_shapes > kMostShapes) continue;
        shapes.push_back(fmt::format("tensor {} has shape [{}, {}], expected [{}, {}]",
                                     Quoted(Stored(tensor.name)), found->rows, found->cols,
                                     tensor.rows, tensor.cols));
      }
    }
    if (!missing.empty()) sentences_.push_back(Missing(missing, expected));
    if (n_shapes > 0) {
      std::string text = fmt::format("{}", fmt::join(shapes, ", "));
      if (n_shapes > shapes.size()) {
        text += fmt::format(" and {} more are of other shapes", n_shapes - shapes.size());
      }
      sentences_.push_back(text);
    }
  }

  std::string Missing(const std::vector<std::string>& missing, const std::string& shape) const {
    std::string text = fmt::format("has no {}", Listed(missing));
    if (missing.size() == 1) text += fmt::format(", expected one of shape {}", shape);
    if (missing.front() == Stored(kHeadTensor)) text += ", as tie_word_embeddings is not true";
    if (const auto placed = checkpoint_.names().placed.find(missing.front());
        placed != checkpoint_.names().placed.end()) {
      text += fmt::format(", though {}", placed->second);
    }
    const std::vector<TensorInfo>& present = checkpoint_.tensors();
    if (missing.size() == 1 || present.empty()) return text;
    return fmt::format("{}; its tensors are called like {}", text,
                       Quoted(Stored(present[present.size() / 2].name)));
  }

  void FindUnknown() {
    std::vector<std::string> unknown;
    for (const std::string& name : checkpoint_.names().unknown) {
      if (!IsIgnored(name, options_)) unknown.push_back(name);
    }
    int64_t layers_there = 0;
    for (const TensorInfo& tensor : checkpoint_.tensors()) {
      const auto place = FindTensorPlace(tensor.name);
      if (!place.has_value() || expected_.count(tensor.name) != 0) continue;
      if (tensor.name == kHeadTensor) continue;  // beside a tied embedding: settled above
      if (place->layer >= config_.n_layers()) {
        layers_there = std::max(layers_there, place->layer + 1);
        continue;
      }
      const std::string name = Stored(tensor.name);
      if (!IsIgnored(name, options_)) unknown.push_back(name);
    }
    if (layers_there > 0) {
      spdlog::warn("{}: has {} layers, of which the first {} are used, as the config says",
                   checkpoint_.path(), layers_there, config_.n_layers());
    }
    if (unknown.empty()) return;
    std::ranges::sort(unknown);
    const bool one = unknown.size() == 1;
    sentences_.push_back(fmt::format(
        "{} {} not supported: the model would be computed without {} (--ignore-config NAME goes on "
        "so)",
        Listed(unknown), one ? "is" : "are", one ? "it" : "them"));
  }

  MappedCheckpoint& checkpoint_;
  const ModelConfig& config_;
  const ConfigOptions& options_;
  std::set<std::string> expected_;  // the names that the config asks for
  std::vector<std::string> sentences_;
};

}  // namespace

std::unique_ptr<Checkpoint> OpenModelWeights(const std::filesystem::path& model,
                                             const ModelConfig& config,
                                             const ConfigOptions& options) {
  std::unique_ptr<MappedCheckpoint> checkpoint = OpenMappedCheckpoint(model);
  Check(*checkpoint, config, options).Run();
  return checkpoint;
}

bool HasWeights(const std::filesystem::path& model) {
  const ModelForm form = FindModelForm(model);
  return form == ModelForm::kGguf || (form == ModelForm::kFolder && HasSafetensors(model));
}

}  // namespace kvfold
