list(APPEND KVFOLD_MODELS_SOURCES
  checkpoint/checkpoint.cc
  checkpoint/dequantize.cc
  checkpoint/dequantize_grid.cc
  checkpoint/dequantize_k.cc
  checkpoint/dequantize_table.cc
  checkpoint/dequantize_ternary.cc
  checkpoint/file_kind.cc
  checkpoint/fingerprint.cc
  checkpoint/ggml_type.cc
  checkpoint/gguf_checkpoint.cc
  checkpoint/gguf_file.cc
  checkpoint/gguf_reader.cc
  checkpoint/gguf_split.cc
  checkpoint/gguf_value.cc
  checkpoint/mapped_checkpoint.cc
  checkpoint/mapped_file.cc
  checkpoint/mapping_faults.cc
  checkpoint/model_path.cc
  checkpoint/model_weights.cc
  checkpoint/random_checkpoint.cc
  checkpoint/safetensors_checkpoint.cc
  checkpoint/safetensors_file.cc
  checkpoint/tensor_naming.cc)
# Products and sums are rounded one by one: the same bits on every processor, and as the references
# have them.
set_source_files_properties(checkpoint/dequantize.cc checkpoint/dequantize_grid.cc
  checkpoint/dequantize_k.cc checkpoint/dequantize_table.cc checkpoint/dequantize_ternary.cc
  PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
