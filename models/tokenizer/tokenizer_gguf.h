// models/tokenizer/tokenizer_gguf.h: reads the tokenizer in a GGUF header. Private to the
// tokenizer.
#pragma once

#include <filesystem>
#include <memory>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// Throws InputError naming the file, the key, what was found and what was expected.
std::unique_ptr<Tokenizer> OpenTokenizerGguf(const std::filesystem::path& path);

}  // namespace kvfold
