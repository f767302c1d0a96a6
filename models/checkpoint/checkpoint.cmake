list(APPEND KVFOLD_MODELS_SOURCES
  checkpoint/ggml_type.cc
  checkpoint/gguf_file.cc
  checkpoint/gguf_reader.cc
  checkpoint/gguf_value.cc
  checkpoint/mapped_file.cc)
