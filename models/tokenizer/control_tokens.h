// models/tokenizer/control_tokens.h: the tokens of a GGUF file that control a model, whatever type
// the file gives them: llama.cpp knows them by their text (src/llama-vocab.cpp, llama_vocab::impl::
// load), since many files name one end of several, or none, or call <|im_end|> an ordinary token.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/checkpoint/gguf_file.h"
#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// The types of tokenizer.ggml.token_type.
enum class GgufTokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Whether llama.cpp takes a token of this text for one that controls the model: one that ends a
// generation, or one around which a text is to be filled in.
bool IsControlText(std::string_view text);

// The ids of the tokens whose text says that they control the model, in rising order. An ordinary
// token that merges make ("</s>" in a vocabulary that saw HTML) is not one. Empty where the file
// has no tokens. Requires: the arrays are of one length where they are there.
std::vector<TokenId> ControlTokensByText(const GgufFile& file);

// The ids at which a generation ends: those that the file names by a key (eos, eot, eom, and the
// ends of a filled-in text), in that order, then those that llama.cpp knows by their text, in
// rising order. "<|end|>" only ends a message, and is left out, where others end the turn
// (<|return|> and <|call|>). The ids of keys are as the file has them, below vocab_size or not.
std::vector<int64_t> EndOfGenerationIds(const GgufFile& file, int64_t vocab_size);

}  // namespace kvfold
