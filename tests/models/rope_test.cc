// RopeInverseFrequencies against transformers.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "models/model_config.h"

namespace kvfold {
namespace {

// transformers' power of a float32 vector (SLEEF's powf, within one unit in the last place) and
// ours (double, rounded) may round a value to neighbouring floats; on these settings they differ by
// at most that one unit.
void ExpectWithinOneUlp(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const int32_t distance = std::bit_cast<int32_t>(got[i]) - std::bit_cast<int32_t>(want[i]);
    EXPECT_LE(std::abs(distance), 1) << "[" << i << "] got " << got[i] << ", want " << want[i];
  }
}

// The numbers are of transformers 5.23, torch on a CPU:
//   from transformers import LlamaConfig
//   from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
//   LlamaRotaryEmbedding(LlamaConfig(head_dim=HEAD_DIM, rope_parameters={"rope_theta": THETA,
//     "rope_type": TYPE, ...})).inv_freq
TEST(RopeInverseFrequencies, Default) {
  RopeConfig rope;
  ExpectWithinOneUlp(RopeInverseFrequencies(rope, 16),
                     {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f,
                      0.00316227786f, 0.00100000005f, 0.000316227786f});
  EXPECT_EQ(RopeInverseFrequencies(rope, 2), std::vector<float>{1.0f});
  rope.theta = 100000.0;
  ExpectWithinOneUlp(RopeInverseFrequencies(rope, 64), {1.0f,
                                                        0.697830558f,
                                                        0.486967534f,
                                                        0.339820832f,
                                                        0.237137362f,
                                                        0.165481701f,
                                                        0.115478203f,
                                                        0.0805842131f,
                                                        0.0562341288f,
                                                        0.0392418988f,
                                                        0.0273841955f,
                                                        0.0191095304f,
                                                        0.0133352149f,
                                                        0.00930572022f,
                                                        0.00649381662f,
                                                        0.00453158375f,
                                                        0.00316227786f,
                                                        0.00220673415f,
                                                        0.00153992651f,
                                                        0.00107460783f,
                                                        0.000749894185f,
                                                        0.000523299095f,
                                                        0.000365174114f,
                                                        0.000254829676f,
                                                        0.00017782794f,
                                                        0.000124093771f,
                                                        8.65964321e-05f,
                                                        6.04296365e-05f,
                                                        4.21696532e-05f,
                                                        2.94272722e-05f,
                                                        2.05352499e-05f,
                                                        1.43301268e-05f});
}

TEST(RopeInverseFrequencies, Linear) {
  RopeConfig rope;
  rope.scaling = RopeConfig::Scaling::kLinear;
  rope.factor = 2.5;
  ExpectWithinOneUlp(RopeInverseFrequencies(rope, 24),
                     {0.400000006f, 0.185663551f, 0.0861773789f, 0.0399999991f, 0.0185663532f,
                      0.00861773919f, 0.00399999972f, 0.00185663591f, 0.000861773733f,
                      0.000400000019f, 0.000185663579f, 8.6177366e-05f});
}

RopeConfig Llama3Rope(double factor) {
  RopeConfig rope;
  rope.theta = 500000.0;
  rope.scaling = RopeConfig::Scaling::kLlama3;
  rope.factor = factor;
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  rope.original_max_positions = 8192;
  return rope;
}

TEST(RopeInverseFrequencies, Llama3) {
  // Llama 3.2 1B.
  ExpectWithinOneUlp(RopeInverseFrequencies(Llama3Rope(32.0), 64), {1.0f,
                                                                    0.663601279f,
                                                                    0.440366626f,
                                                                    0.292227834f,
                                                                    0.193922758f,
                                                                    0.128687382f,
                                                                    0.0853971019f,
                                                                    0.0566696189f,
                                                                    0.0376060307f,
                                                                    0.0249554086f,
                                                                    0.0165604409f,
                                                                    0.0109895291f,
                                                                    0.00729266508f,
                                                                    0.00483942125f,
                                                                    0.00321144611f,
                                                                    0.00129054801f,
                                                                    0.000429556705f,
                                                                    9.70828623e-05f,
                                                                    1.94616387e-05f,
                                                                    1.29147675e-05f,
                                                                    8.57025589e-06f,
                                                                    5.68723226e-06f,
                                                                    3.77405445e-06f,
                                                                    2.50446715e-06f,
                                                                    1.66196742e-06f,
                                                                    1.10288363e-06f,
                                                                    7.31874934e-07f,
                                                                    4.85673127e-07f,
                                                                    3.22293289e-07f,
                                                                    2.1387423e-07f,
                                                                    1.41927202e-07f,
                                                                    9.41830649e-08f});
  // Llama 3.1 8B.
  ExpectWithinOneUlp(RopeInverseFrequencies(Llama3Rope(8.0), 128), {1.0f,
                                                                    0.814617217f,
                                                                    0.663601279f,
                                                                    0.540580988f,
                                                                    0.440366626f,
                                                                    0.358730227f,
                                                                    0.292227834f,
                                                                    0.238053814f,
                                                                    0.193922758f,
                                                                    0.157972813f,
                                                                    0.128687382f,
                                                                    0.10483095f,
                                                                    0.0853971019f,
                                                                    0.0695659518f,
                                                                    0.0566696189f,
                                                                    0.0461640507f,
                                                                    0.0376060307f,
                                                                    0.0306345206f,
                                                                    0.0249554086f,
                                                                    0.0203291047f,
                                                                    0.0165604409f,
                                                                    0.0134904198f,
                                                                    0.0109895291f,
                                                                    0.00895225909f,
                                                                    0.00729266508f,
                                                                    0.00594073068f,
                                                                    0.00483942125f,
                                                                    0.00394227589f,
                                                                    0.00321144611f,
                                                                    0.00216657063f,
                                                                    0.00137189368f,
                                                                    0.00085675146f,
                                                                    0.000524846022f,
                                                                    0.00031269365f,
                                                                    0.000178507791f,
                                                                    9.55621217e-05f,
                                                                    7.78465546e-05f,
                                                                    6.34151438e-05f,
                                                                    5.16590699e-05f,
                                                                    4.20823671e-05f,
                                                                    3.42810235e-05f,
                                                                    2.79259093e-05f,
                                                                    2.2748929e-05f,
                                                                    1.85316694e-05f,
                                                                    1.50962178e-05f,
                                                                    1.22976389e-05f,
                                                                    1.00178686e-05f,
                                                                    8.1607277e-06f,
                                                                    6.64786967e-06f,
                                                                    5.41546933e-06f,
                                                                    4.41153452e-06f,
                                                                    3.59371188e-06f,
                                                                    2.92749974e-06f,
                                                                    2.38479174e-06f,
                                                                    1.94269251e-06f,
                                                                    1.58255079e-06f,
                                                                    1.28917316e-06f,
                                                                    1.05018262e-06f,
                                                                    8.55496921e-07f,
                                                                    6.96902532e-07f,
                                                                    5.6770881e-07f,
                                                                    4.6246538e-07f,
                                                                    3.7673226e-07f,
                                                                    3.06892588e-07f});
}

TEST(RopeInverseFrequencies, FactorsDivide) {
  RopeConfig rope;
  const std::vector<float> plain = RopeInverseFrequencies(rope, 6);
  rope.scaling = RopeConfig::Scaling::kFactors;
  rope.freq_factors = {1.0f, 3.0f, 8.0f};
  const std::vector<float> got = RopeInverseFrequencies(rope, 6);
  EXPECT_EQ(got, (std::vector<float>{plain[0], plain[1] / 3.0f, plain[2] / 8.0f}));
}

}  // namespace
}  // namespace kvfold
