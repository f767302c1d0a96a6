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
  enum class Windows : uint8_t { kNone, kAllLayers, kLaterLayers, kPeriodic };
  // What Gemma's are beyond Llama's, as transformers has it where a config says nothing.
  struct Gemma {
    double score_cap;  // 0: none
    double logit_cap;
    // RoPE of layers that slide where it is not that of the others; 0: it is.
    double local_theta;
    // The layers of the model whose scores go by hidden / n_heads: GGUF does not say it.
    int64_t layers_of_27b;
  };

  std::string_view model_type;    // of config.json
  std::string_view architecture;  // of config.json
  std::string_view gguf_name;     // general.architecture; "": GGUF has no name of its own for it
  Windows windows = Windows::kNone;
  int64_t window_period = 0;     // kPeriodic: of so many layers the last sees all
  double theta = 10000.0;        // of RoPE: transformers' own where a config says nothing
  int64_t max_positions = 0;     // transformers' own where a config says nothing
  bool ties_embeddings = false;  // the same
  // What must be said, since transformers' own is that of one model of them.
  bool must_state_kv_heads = false;
  bool must_state_head_dim = false;
  // The class of transformers that builds its tokenizer anew whatever the files say; "": none does.
  std::optional<std::string_view> tokenizer_class = std::nullopt;
  LayerSpec layer = {};  // what its layers have that others have not
  std::optional<Gemma> gemma = std::nullopt;

  double local_theta() const { return gemma ? gemma->local_theta : 0.0; }
};

std::span<const Family> Families();
// By model_type; nullptr where there is none.
const Family* FindFamily(std::string_view model_type);

// "llama, mistral or qwen2", by the given member where it is not empty; `quote` stands around each.
std::string ListFamilies(std::string_view Family::*name, std::string_view quote = "");

}  // namespace kvfold
