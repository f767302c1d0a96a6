// RopeInverseFrequencies. Each float step below is one of transformers'
// (modeling_llama.compute_default_rope_parameters and modeling_rope_utils, which compute in
// float32), so that the results agree with it but for the last bit of pow.
#include <cmath>
#include <numbers>

#include "comm/error.h"
#include "models/model_config.h"

namespace kvfold {
namespace {

// _compute_llama3_parameters: long wavelengths are divided by `factor`, short ones kept, those
// between interpolated.
float Llama3Frequency(const RopeConfig& rope, float inv_freq) {
  const double original = static_cast<double>(rope.original_max_positions);
  const auto low_freq_wavelen = static_cast<float>(original / rope.low_freq_factor);
  const auto high_freq_wavelen = static_cast<float>(original / rope.high_freq_factor);
  const auto factor = static_cast<float>(rope.factor);
  // torch divides a number by a tensor as reciprocal, then product.
  const float wavelen = (1.0f / inv_freq) * static_cast<float>(2 * std::numbers::pi);
  if (wavelen > low_freq_wavelen) return inv_freq / factor;
  if (wavelen < high_freq_wavelen) return inv_freq;
  const float turns = (1.0f / wavelen) * static_cast<float>(original);
  const float smooth = (turns - static_cast<float>(rope.low_freq_factor)) /
                       static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  const float scaled = (1.0f - smooth) * inv_freq / factor;
  const float kept = smooth * inv_freq;
  return scaled + kept;
}

}  // namespace

std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int64_t head_dim) {
  KVFOLD_CHECK(head_dim > 0 && head_dim % 2 == 0, "head_dim", head_dim);
  std::vector<float> inv_freqs(head_dim / 2);
  const double theta = static_cast<float>(rope.theta);
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    const float inv_freq = 1.0f / power;
    switch (rope.scaling) {
      case RopeConfig::Scaling::kNone:
        inv_freqs[i] = inv_freq;
        break;
      case RopeConfig::Scaling::kLinear:
        inv_freqs[i] = inv_freq / static_cast<float>(rope.factor);
        break;
      case RopeConfig::Scaling::kLlama3:
        inv_freqs[i] = Llama3Frequency(rope, inv_freq);
        break;
      case RopeConfig::Scaling::kFactors:
        inv_freqs[i] = inv_freq / rope.freq_factors.at(i);
        break;
    }
  }
  return inv_freqs;
}

}  // namespace kvfold
