// tests/support/random_model.h: models of random shape and random weights that live in memory, and
// checkpoints that answer for another one.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "models/checkpoint/checkpoint.h"
#include "models/model_config.h"
#include "models/tensor_table.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/sampler.h"

namespace kvfold {

// A number in [least, most], drawn with `random`.
inline int64_t Draw(std::mt19937_64& random, int64_t least, int64_t most) {
  return least + static_cast<int64_t>(random() % static_cast<uint64_t>(most - least + 1));
}

template <typename T>
void SetEvery(ModelConfig& config, T LayerSpec::*member, T value) {
  for (LayerSpec& layer : config.layers) layer.*member = value;
}

// As many layers as windows, otherwise like the first.
inline void SetWindows(ModelConfig& config, const std::vector<int64_t>& windows) {
  config.layers.assign(windows.size(), config.layers.front());
  for (size_t layer = 0; layer < windows.size(); ++layer)
    config.layers[layer].window = windows[layer];
}

// Shapes that divide badly: widths that are no multiple of 64, heads shared by groups of any size,
// layers that differ in window, RoPE, bias and norms, every kind of RoPE, tied or not. The first
// layer has every feature that any has. like_llama: none but a bias.
inline ModelConfig RandomConfig(uint64_t seed, bool like_llama = false) {
  std::mt19937_64 random(seed * 7919 + 1);
  ModelConfig config;
  config.architecture = "llama";
  config.layers.resize(static_cast<size_t>(Draw(random, 1, 4)));
  config.n_kv_heads = Draw(random, 1, 4);
  config.n_heads = config.n_kv_heads * Draw(random, 1, 3);
  config.head_dim = 2 * Draw(random, 3, 24);
  config.hidden = Draw(random, 25, 150);
  config.ffn_dim = Draw(random, 40, 330);
  config.vocab_size = Draw(random, 67, 400);
  config.max_positions = 4096;
  config.rms_eps = random() % 2 == 0 ? 1e-5 : 1e-3;
  config.tie_embeddings = random() % 2 == 0;
  SetEvery(config, &LayerSpec::qkv_bias, random() % 2 == 0);
  const int64_t windows[] = {0, Draw(random, 1, 20), Draw(random, 21, 140)};
  for (LayerSpec& layer : config.layers) layer.window = windows[random() % 3];
  RopeConfig& rope = config.ropes.front();
  rope.theta = random() % 2 == 0 ? 10000.0 : 500000.0;
  rope.scaling = static_cast<RopeConfig::Scaling>(random() % 4);
  if (rope.scaling == RopeConfig::Scaling::kLinear) rope.factor = 3.0;
  if (rope.scaling == RopeConfig::Scaling::kLlama3) {
    rope.factor = 8.0;
    rope.original_max_positions = 48;
  }
  if (rope.scaling == RopeConfig::Scaling::kFactors) {
    for (int64_t i = 0; i < config.head_dim / 2; ++i)
      rope.freq_factors.push_back(1.0f + static_cast<float>(random() % 100) / 25.0f);
  }
  if (like_llama) return config;
  SetEvery(config, &LayerSpec::qk_norm, random() % 2 == 0);
  config.activation = random() % 2 == 0 ? Activation::kSilu : Activation::kGeluTanh;
  SetEvery(config, &LayerSpec::post_norms, random() % 2 == 0);
  if (random() % 2 == 0) config.score_cap = 5.0;
  if (random() % 2 == 0) config.logit_cap = 20.0;
  if (random() % 2 == 0) config.attention_scale = 1.3 / std::sqrt(config.head_dim);
  if (random() % 2 == 0) config.embedding_scale = 1.7;
  if (random() % 2 == 0) config.norm_offset = -0.1;
  config.ropes.push_back({.theta = 300.0});
  for (size_t layer = 1; layer < config.layers.size(); ++layer) {
    LayerSpec& spec = config.layers[layer];
    if (random() % 4 == 0) spec.rope = 1;
    if (random() % 4 == 0) spec.qkv_bias = false;
    if (random() % 4 == 0) spec.qk_norm = false;
    if (random() % 4 == 0) spec.post_norms = false;
  }
  return config;
}

// One line that names a config where a test of it fails.
inline std::string Describe(const ModelConfig& c) {
  std::string layers;
  for (const LayerSpec& layer : c.layers) {
    layers += fmt::format(" [window {}, rope {}{}{}{}]", layer.window, layer.rope,
                          layer.qkv_bias ? ", biased" : "", layer.qk_norm ? ", q and k normed" : "",
                          layer.post_norms ? ", post-normed" : "");
  }
  return fmt::format(
      "layers{}, hidden {}, heads {}/{} of {}, ffn {}, vocab {}, first rope {}, tied {}, "
      "activation {}, caps {} and {}, scales {} and {}, norm offset {}",
      layers, c.hidden, c.n_heads, c.n_kv_heads, c.head_dim, c.ffn_dim, c.vocab_size,
      static_cast<int>(c.ropes.front().scaling), c.tie_embeddings, static_cast<int>(c.activation),
      c.score_cap, c.logit_cap, c.softmax_scale(), c.embedding_scale, c.norm_offset);
}

inline std::vector<TokenId> RandomTokens(const ModelConfig& config, int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed * 104729 + 3);
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(Draw(random, 0, config.vocab_size - 1));
  }
  return tokens;
}

// Every tensor that a config asks for. Weights have a gain of 1.5 / sqrt(fan_in), so that no part
// of the model is too faint to be missed; norm weights are about 1 and biases about 0.5.
class RandomCheckpoint : public Checkpoint {
 public:
  RandomCheckpoint(const ModelConfig& config, uint64_t seed) {
    for (const ModelTensor& tensor : ModelTensors(config))
      tensors_.push_back({tensor.name, StorageType::kF32, tensor.rows, tensor.cols,
                          tensor.rows * tensor.cols * 4});
    for (const TensorInfo& tensor : tensors_) Fill(tensor, seed);
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* Find(std::string_view name) const override {
    const auto found = std::ranges::find(tensors_, name, &TensorInfo::name);
    return found == tensors_.end() ? nullptr : &*found;
  }
  void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t col_begin,
                 int64_t col_end, float* out) const override {
    const std::vector<float>& values = values_.at(tensor.name);
    for (int64_t row = row_begin; row < row_end; ++row) {
      const float* const from = values.data() + row * tensor.cols;
      out = std::copy(from + col_begin, from + col_end, out);
    }
  }
  void DropResidentPages() const override {}
  uint64_t Fingerprint() const override { return 0; }
  std::string path() const override { return "random"; }

  // [rows, cols] of a tensor, to be changed.
  std::vector<float>& Values(const std::string& name) { return values_.at(name); }
  // For models that are broken on purpose.
  void Remove(std::string_view name) {
    std::erase_if(tensors_, [&](const TensorInfo& tensor) { return tensor.name == name; });
  }
  void Reshape(std::string_view name, int64_t rows, int64_t cols) {
    TensorInfo& tensor = *std::ranges::find(tensors_, name, &TensorInfo::name);
    tensor.rows = rows;
    tensor.cols = cols;
    values_[tensor.name].resize(static_cast<size_t>(rows * cols));
  }

 private:
  void Fill(const TensorInfo& tensor, uint64_t seed) {
    std::mt19937_64 random(RequestKey(tensor.name) ^ seed);
    std::normal_distribution<float> normal;
    std::vector<float>& values = values_[tensor.name];
    values.resize(static_cast<size_t>(tensor.rows * tensor.cols));
    const bool norm = tensor.name.ends_with("norm.weight");
    const bool embedding = tensor.name == "model.embed_tokens.weight";
    float gain = embedding ? 1.0f : 1.5f / std::sqrt(static_cast<float>(tensor.cols));
    if (tensor.name.ends_with(".bias")) gain = 0.5f;
    for (float& value : values) value = norm ? 1.0f + 0.3f * normal(random) : gain * normal(random);
  }

  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::vector<float>> values_;
};

// Another checkpoint, but all elements of tensors whose names end in `suffix` are `value`; of one
// row alone where it is given.
class ConstantTensors : public Checkpoint {
 public:
  // `base` must outlive it.
  ConstantTensors(const Checkpoint& base, std::string suffix, float value, int64_t row = -1)
      : base_(base), suffix_(std::move(suffix)), value_(value), row_(row) {}
  const std::vector<TensorInfo>& tensors() const override { return base_.tensors(); }
  const TensorInfo* Find(std::string_view name) const override { return base_.Find(name); }
  void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t col_begin,
                 int64_t col_end, float* out) const override {
    base_.ReadBlock(tensor, row_begin, row_end, col_begin, col_end, out);
    if (!tensor.name.ends_with(suffix_)) return;
    const int64_t cols = col_end - col_begin;
    for (int64_t row = row_begin; row < row_end; ++row) {
      if (row_ < 0 || row == row_) std::fill_n(out + (row - row_begin) * cols, cols, value_);
    }
  }
  void DropResidentPages() const override { base_.DropResidentPages(); }
  uint64_t Fingerprint() const override { return base_.Fingerprint(); }
  std::string path() const override { return base_.path(); }

 private:
  const Checkpoint& base_;
  std::string suffix_;
  float value_;
  int64_t row_;
};

}  // namespace kvfold
