// models/model_config.h: a model's shapes and switches, read from config.json or from a GGUF
// header. One Transformer serves every family by these; a family is data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvfold {

// Rotary position embedding (arXiv:2104.09864), the two halves of a head rotated against each other
// ("rotate_half" of Hugging Face): pair (i, i + head_dim / 2) turns by position * inv_freq[i],
// inv_freq[i] = theta^(-2i / head_dim) / scale_i.
struct RopeConfig {
  enum class Scaling { kNone, kLinear, kLlama3, kFactors };
  double theta = 10000.0;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;  // kLinear, kLlama3
  // kLlama3: Hugging Face modeling_rope_utils._compute_llama3_parameters.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_positions = 0;
  std::vector<float> freq_factors;  // kFactors (GGUF rope_freqs.weight): [head_dim / 2],
                                    // inv_freq[i] is divided by it

  bool operator==(const RopeConfig&) const = default;
};

// [head_dim / 2] inverse frequencies in radians per position, in transformers' own float32 steps:
// they agree with it to a unit in the last place (its power function is approximate to that).
// Requires head_dim even, and freq_factors as long as said above.
std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int64_t head_dim);

// What the gate of a feed-forward goes through: x / (1 + exp(-x)), or the tanh form of GELU
// (arXiv:1606.08415, section 2), x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))).
enum class Activation : uint8_t { kSilu, kGeluTanh };

// What the layers of one model may differ in.
struct LayerSpec {
  int64_t window = 0;  // positions that a query sees, itself included; 0 = all
  int rope = 0;        // which of ModelConfig::ropes
  bool qkv_bias = false;
  bool qk_norm = false;  // of every query and key head, before RoPE
  // Of what attention and feed-forward give, before it is added to the residual.
  bool post_norms = false;

  // Whether a bias is the last thing that is added to a key before RoPE.
  bool keys_end_biased() const { return qkv_bias && !qk_norm; }
  bool operator==(const LayerSpec&) const = default;
};

struct ModelConfig {
  std::string architecture;  // Family::model_type
  std::vector<LayerSpec> layers;
  std::vector<RopeConfig> ropes = {RopeConfig()};  // those of its layers
  int64_t hidden = 0;                              // width of the residual stream
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads
  int64_t head_dim = 0;    // even; may differ from hidden / n_heads
  int64_t ffn_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // trained context; only warned about
  double rms_eps = 1e-6;
  double norm_offset = 0.0;  // added to the weights of norms as files have them
  double embedding_scale = 1.0;
  std::optional<double> attention_scale;  // nullopt: 1 / sqrt(head_dim)
  double score_cap = 0.0;  // soft-caps of attention's scaled scores and of logits; 0: none
  double logit_cap = 0.0;
  Activation activation = Activation::kSilu;
  bool tie_embeddings = false;
  int64_t bos_id = -1;  // -1: none
  std::vector<int64_t> eos_ids;

  int64_t n_layers() const { return static_cast<int64_t>(layers.size()); }
  const LayerSpec& layer(int64_t index) const { return layers[static_cast<size_t>(index)]; }
  std::vector<int64_t> windows() const;  // by layer
  double softmax_scale() const;          // of scores
  // Query heads that share one KV head.
  int64_t group_size() const { return n_heads / n_kv_heads; }
  bool operator==(const ModelConfig&) const = default;
};

struct ConfigOptions {
  // What is neither known nor harmless, accepted all the same: keys of config.json ("mlp_bias",
  // "rope_scaling.attn_factor") or of GGUF metadata ("llama.attention.scale"), tensors by their
  // names in the files ("model.layers.*.self_attn.q_norm.weight", for one layer with its number).
  std::vector<std::string> ignored_keys;
};

// `model`: a Hugging Face folder (config.json, generation_config.json), a config.json itself, or a
// GGUF file, whatever its name. Throws InputError naming the file, the key and what was expected:
// an unknown architecture, all unsupported switches, a shape out of range.
ModelConfig ReadModelConfig(const std::filesystem::path& model, const ConfigOptions& options = {});

// `name` is a path as above, or the name of a shipped config ("llama-3.1-8b"), whose config.json is
// under models/configs/. Throws InputError listing the shipped names where neither exists.
std::filesystem::path ResolveModel(const std::string& name);

}  // namespace kvfold
