// models/tokenizer/tokenizer_json_parts.h: the parts of a tokenizer.json around its model. Private
// to the tokenizer.
#pragma once

#include "models/json_field.h"
#include "models/tokenizer/bpe_tokenizer.h"

namespace kvfold {

// Each fills its part of `spec` from a field of the file, and throws InputError for what is not
// supported.
void ReadNormalizer(const JsonField& field, BpeTokenizerSpec& spec);
void ReadPreTokenizer(const JsonField& field, BpeTokenizerSpec& spec);
void ReadPostProcessor(const JsonField& field, BpeTokenizerSpec& spec);
void ReadDecoder(const JsonField& field);
void ReadAddedTokens(const JsonField& field, BpeTokenizerSpec& spec);

}  // namespace kvfold
