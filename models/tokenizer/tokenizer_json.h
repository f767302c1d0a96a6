// models/tokenizer/tokenizer_json.h: reads Hugging Face's tokenizer.json. Private to the tokenizer.
#pragma once

#include <filesystem>
#include <memory>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// One file alone. Throws InputError naming the file, the field, what was found and what was
// expected.
std::unique_ptr<Tokenizer> OpenTokenizerJson(const std::filesystem::path& path);

// tokenizer.json of a folder, with the tokens of the files beside it (folder_tokens.h).
std::unique_ptr<Tokenizer> OpenTokenizerFolder(const std::filesystem::path& folder);

}  // namespace kvfold
