// models/families.h: the families of models that are read here, a row each: what files call them,
// and what they have that others have not.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "models/model_config.h"

namespace kvfold {

struct Family {
  // Which layers may slide, and by which keys of config.json (models/config_json.cc).
  enum class Windows : uint8_t { kNone, kAllLayers, kLaterLayers };

  std::string_view model_type;    // of config.json; what GGUF calls it too
  std::string_view architecture;  // of config.json
  bool in_gguf;                   // whether GGUF has a name for it
  Windows windows;
  int64_t max_positions;  // transformers' own where a config says nothing
  // What must be said, since transformers' own is that of one model of them.
  bool must_state_kv_heads;
  bool must_state_head_dim;
  // The class of transformers that builds its tokenizer anew whatever the files say; "": none does.
  std::optional<std::string_view> tokenizer_class;
  LayerSpec layer;  // what its layers have that others have not
};

std::span<const Family> Families();
// nullptr where there is none.
const Family* FindFamily(std::string_view model_type);

// "llama, mistral or qwen2", by the given member; `quote` stands around each.
std::string ListFamilies(std::string_view Family::*name, std::string_view quote = "",
                         bool of_gguf = false);

}  // namespace kvfold
