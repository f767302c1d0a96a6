// models/config_origins.h: where the values of a ModelConfig were read, for messages about them.
#pragma once

#include <string>

namespace kvfold {

// "model/generation_config.json" and "eos_token_id"; of a GGUF file "llama.embedding_length".
struct Origin {
  std::string file;
  std::string key;  // as the file spells it, with its place in the file ("rope_scaling.factor")
};

// Named as the fields of ModelConfig, LayerSpec and RopeConfig.
struct ConfigOrigins {
  Origin n_layers, hidden, n_heads, n_kv_heads, head_dim, ffn_dim, vocab_size, max_positions;
  Origin rms_eps, window, attention_scale, score_cap, logit_cap;
  Origin theta, factor, low_freq_factor, high_freq_factor, original_max_positions, freq_factors;
};

}  // namespace kvfold
