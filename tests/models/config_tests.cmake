kvfold_test(models_checkpoint
  SOURCES checkpoint_test.cc config_gguf_test.cc config_test.cc file_kind_test.cc gguf_test.cc
          model_weights_test.cc rope_test.cc
  DEPENDS kvfold::models nlohmann_json::nlohmann_json)
