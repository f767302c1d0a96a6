kvfold_test(models_tokenizer
  TIMEOUT 900
  SOURCES control_tokens_test.cc folder_tokens_test.cc tokenizer_test.cc tokenizer_corpus_test.cc
          tokenizer_parts_test.cc
  DEPENDS kvfold::models nlohmann_json::nlohmann_json ZLIB::ZLIB
  LONG *EveryCodePoint*/llama3 *EveryCodePoint*/qwen2 *EveryCodePoint*/tekken)
kvfold_test(models_chat_template
  SOURCES chat_template_test.cc
  DEPENDS kvfold::models nlohmann_json::nlohmann_json)
