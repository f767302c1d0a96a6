#include "models/checkpoint/checkpoint.h"

#include "comm/error.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/checkpoint/model_path.h"
#include "models/quoted.h"

namespace kvfold {

std::unique_ptr<MappedCheckpoint> OpenMappedCheckpoint(const std::filesystem::path& model) {
  switch (FindModelForm(model)) {
    case ModelForm::kFolder:
      return OpenSafetensorsCheckpoint(model);
    case ModelForm::kGguf:
      return OpenGgufCheckpoint(model);
    case ModelForm::kJson:
      break;
  }
  std::error_code error;
  throw InputError(fmt::format(
      "{}: a JSON file, which has no weights, expected the folder that holds it beside its "
      "*.safetensors, {}, or a .gguf file",
      model.string(), std::filesystem::absolute(model, error).parent_path().string()));
}

std::unique_ptr<Checkpoint> Checkpoint::Open(const std::filesystem::path& model) {
  return OpenMappedCheckpoint(model);
}

const TensorInfo& Checkpoint::Expect(std::string_view name, int64_t rows, int64_t cols) const {
  const TensorInfo* const tensor = Find(name);
  if (tensor == nullptr) {
    throw InputError(fmt::format("{}: has no tensor {}, expected one of shape [{}, {}]", path(),
                                 Quoted(name), rows, cols));
  }
  if (tensor->rows != rows || tensor->cols != cols) {
    throw InputError(fmt::format("{}: tensor {} has shape [{}, {}], expected [{}, {}]", path(),
                                 Quoted(name), tensor->rows, tensor->cols, rows, cols));
  }
  return *tensor;
}

}  // namespace kvfold
