kvfold_test(models_checkpoint SOURCES gguf_test.cc DEPENDS kvfold::models)
