#include "models/model_config.h"

#include <cstring>

#include "comm/error.h"
#include "models/checkpoint/mapped_file.h"
#include "models/config_gguf.h"
#include "models/config_json.h"

namespace kvfold {

ModelConfig ReadModelConfig(const std::filesystem::path& model, const ConfigOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(model, error)) {
    const std::filesystem::path file = model / "config.json";
    if (!std::filesystem::exists(file, error)) {
      throw InputError(
          fmt::format("{}: has no config.json, expected a Hugging Face folder, a "
                      "config.json or a .gguf file",
                      model.string()));
    }
    return ReadJsonConfig(file, options);
  }
  const MappedFile file(model);
  const bool is_gguf = file.size_bytes() >= 4 && std::memcmp(file.data(), "GGUF", 4) == 0;
  if (is_gguf || model.extension() == ".gguf") return ReadGgufConfig(model, options);
  return ReadJsonConfig(model, options);
}

}  // namespace kvfold
