// models/tokenizer/folder_tokens.h: what the files beside tokenizer.json say about tokens:
// tokenizer_config.json, special_tokens_map.json and added_tokens.json, as transformers'
// AutoTokenizer reads them (5.24, tokenization_utils_base.py: _from_pretrained, and
// tokenization_utils_tokenizers.py: TokenizersBackend).
//
// tokenizer_config.json's added_tokens_decoder, where there is one, is all that counts of added
// tokens, and special_tokens_map.json is not read; else both older files are.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/tokenizer/added_tokens.h"

namespace kvfold {

struct FolderTokens {
  // In transformers' order. An id is what the file says, kNoId where it says none.
  std::vector<AddedToken> added;  // of added_tokens_decoder or added_tokens.json
  bool legacy = false;            // no added_tokens_decoder
  // "bos_token", "eos_token", ..., each once.
  std::vector<std::pair<std::string, AddedToken>> named;
  std::vector<AddedToken> extra;  // additional_special_tokens

  // Whether a space goes before every text, where a tokenizer class of its own decides that and not
  // tokenizer.json (transformers builds GPT2Tokenizer, Qwen2Tokenizer and others anew).
  std::optional<bool> adds_prefix_space;

  // The text of a named token; "" where it has none.
  std::string_view Text(std::string_view name) const;
};

// Throws InputError naming the file and the field of what cannot be read, or would change ids in a
// way that is not supported.
FolderTokens ReadFolderTokens(const std::filesystem::path& folder);

// What transformers makes of the added tokens of tokenizer.json and those of the other files. A
// content may stand there again: the last one's flags count.
void AddFolderTokens(const FolderTokens& folder, std::vector<AddedToken>& added);

}  // namespace kvfold
