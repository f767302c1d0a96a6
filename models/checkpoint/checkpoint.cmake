list(APPEND KVFOLD_MODELS_SOURCES
  checkpoint/checkpoint.cc
  checkpoint/dequantize.cc
  checkpoint/fingerprint.cc
  checkpoint/ggml_type.cc
  checkpoint/gguf_checkpoint.cc
  checkpoint/gguf_file.cc
  checkpoint/gguf_reader.cc
  checkpoint/gguf_split.cc
  checkpoint/gguf_value.cc
  checkpoint/mapped_checkpoint.cc
  checkpoint/mapped_file.cc
  checkpoint/safetensors_checkpoint.cc
  checkpoint/safetensors_file.cc
  checkpoint/tensor_names.cc)
