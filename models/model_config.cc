#include "models/model_config.h"

#include <cmath>

#include "models/checkpoint/model_path.h"
#include "models/config_gguf.h"
#include "models/config_json.h"

namespace kvfold {

std::vector<int64_t> ModelConfig::windows() const {
  std::vector<int64_t> windows;
  for (const LayerSpec& layer : layers) windows.push_back(layer.window);
  return windows;
}

double ModelConfig::softmax_scale() const {
  return attention_scale.value_or(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

ModelConfig ReadModelConfig(const std::filesystem::path& model, const ConfigOptions& options) {
  switch (FindModelForm(model)) {
    case ModelForm::kGguf:
      return ReadGgufConfig(model, options);
    case ModelForm::kJson:
      return ReadJsonConfig(model, options);
    case ModelForm::kFolder:
      break;
  }
  const std::filesystem::path file = model / "config.json";
  if (!HasEntry(file)) {
    RefuseFolder(model, "has no config.json",
                 "a Hugging Face folder, a config.json or a .gguf file");
  }
  RefuseFolderOfOtherWeights(model);
  return ReadJsonConfig(file, options);
}

}  // namespace kvfold
