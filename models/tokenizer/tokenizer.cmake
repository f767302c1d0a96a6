list(APPEND KVFOLD_MODELS_SOURCES
  tokenizer/added_tokens.cc
  tokenizer/bpe_tokenizer.cc
  tokenizer/byte_alphabet.cc
  tokenizer/byte_level_bpe.cc
  tokenizer/normalizer.cc
  tokenizer/pre_tokenizer.cc
  tokenizer/regex_translation.cc
  tokenizer/split_regex.cc
  tokenizer/tokenizer.cc
  tokenizer/tokenizer_gguf.cc
  tokenizer/tokenizer_json.cc
  tokenizer/tokenizer_json_parts.cc
  tokenizer/unicode_sets.cc
  tokenizer/utf8.cc)
