// models/checkpoint/model_path.h: what stands at the path that a user gave as a model. Every reader
// of a model (config, weights, tokenizer, chat template) asks here, so that all of them take the
// same paths and refuse the others alike.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kvfold {

enum class ModelForm {
  kFolder,  // a Hugging Face folder, whatever it holds
  kGguf,    // a GGUF file, whatever its name
  kJson,    // a JSON file: a config.json, a tokenizer.json
};

// Throws InputError where `model` is anything else: one sentence that says what it is and what to
// give instead (of a safetensors file, the folder that holds it).
ModelForm FindModelForm(const std::filesystem::path& model);

// Whether `path` has an entry, be it a link that leads nowhere: whoever opens that says so.
bool HasEntry(const std::filesystem::path& path);

// Whether a folder has safetensors files or an index of them.
bool HasSafetensors(const std::filesystem::path& folder);

// Throws InputError "FOLDER: WHAT IS MISSING, expected EXPECTED", and what the folder holds instead
// where that tells the user what to give: GGUF files, PyTorch weights, an adapter, a hub cache's
// snapshots, folders of models.
[[noreturn]] void RefuseFolder(const std::filesystem::path& folder, std::string_view missing,
                               std::string_view expected);
// The same where the folder has weights, but none that a folder is read with; otherwise returns.
void RefuseFolderOfOtherWeights(const std::filesystem::path& folder);

}  // namespace kvfold
