list(APPEND KVFOLD_MODELS_SOURCES model_config.cc quoted.cc)
