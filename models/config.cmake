list(APPEND KVFOLD_MODELS_SOURCES
  config_gguf.cc
  config_json.cc
  config_keys_json.cc
  config_limits.cc
  config_refusals.cc
  config_rope_json.cc
  families.cc
  json_field.cc
  json_fields.cc
  json_file.cc
  json_text.cc
  model_config.cc
  quoted.cc
  rope.cc
  shipped_configs.cc
  tensor_table.cc)
# As in checkpoint.cmake: products and sums are rounded one by one.
set_source_files_properties(rope.cc PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
