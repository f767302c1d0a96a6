// models/checkpoint/gguf_split.h: a model in one GGUF file, or split over several
// ("name-00001-of-00003.gguf", ...).
#pragma once

#include <filesystem>
#include <vector>

#include "models/checkpoint/gguf_file.h"

namespace kvfold {

// All files of the model whose first is `first`, in order; the first has the model's metadata.
// Throws InputError where `first` is not the first, a file is missing or is not the part that its
// name says, their tensors are not as many as the first one counts, or one appears twice.
std::vector<GgufFile> OpenGgufSplit(const std::filesystem::path& first);

// nullptr where no file has it.
const GgufTensor* FindTensor(const std::vector<GgufFile>& files, std::string_view name);

}  // namespace kvfold
