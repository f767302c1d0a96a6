#include "models/checkpoint/checkpoint.h"

#include "comm/error.h"
#include "models/checkpoint/mapped_checkpoint.h"
#include "models/quoted.h"

namespace kvfold {

std::unique_ptr<Checkpoint> Checkpoint::Open(const std::filesystem::path& model) {
  std::error_code error;
  if (std::filesystem::is_directory(model, error)) return OpenSafetensorsCheckpoint(model);
  return OpenGgufCheckpoint(model);
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
