// Attention against softmax in double, over every shape of head, prefix, chunk and window.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>

#include "tests/runtime/kernels/attention_batch.h"

namespace kvfold {
namespace {

const std::vector<int32_t> kOneByOne = {0, 1};
const std::vector<int32_t> kPairs = {0, 0, 1, 1};
const std::vector<int32_t> kThree = {0, 0, 0};
const std::vector<int32_t> kThreeAndTwo = {0, 0, 0, 1, 1};  // a rank with part of a KV head's group
const std::vector<int32_t> kOneAndThree = {0, 1, 1, 1};
const std::vector<int32_t> kEight = {0, 0, 0, 0, 0, 0, 0, 0};

// Rows that a reference is made for: the first and last ones, those around the edges of likely row
// tiles, and some between.
std::vector<int64_t> TokensToCheck(int64_t n_tokens) {
  std::vector<int64_t> tokens;
  for (int64_t t = 0; t < n_tokens; ++t) {
    const bool edge = t < 3 || t + 2 >= n_tokens || t % 32 >= 31 || t % 32 == 0 || t % 48 == 47;
    if (edge || t % 17 == 5) tokens.push_back(t);
  }
  return tokens;
}

struct Checked {
  int64_t token, head;
  AttentionRow row;
};

class AttentionTest : public KernelsTest {
 protected:
  void ExpectReference(const BatchShape& shape, uint64_t seed) {
    SCOPED_TRACE(testing::Message()
                 << "head_dim " << shape.head_dim << ", heads " << shape.n_heads() << ", window "
                 << shape.window << ", seed " << seed);
    const std::vector<SequenceData> sequences = MakeSequences(shape, seed);
    const auto& checked = References(shape, seed, sequences);
    std::vector<size_t> all(sequences.size());
    std::iota(all.begin(), all.end(), 0);
    for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      if (shape.key_bias && kv_dtype != DType::kI8) continue;
      const DType products = backend().AttentionProducts(kv_dtype);
      const std::vector<AttentionOutput> got =
          RunAttention(backend(), kv_dtype, shape, sequences, all);
      for (size_t i = 0; i < got.size(); ++i) {
        for (const Checked& c : checked[i]) {
          CacheError error{.score = CapError(shape.score_cap)};
          if (shape.key_bias) {
            error.score += KeyError(shape, sequences[i], c);
            if (products == DType::kBF16) error.score += kRoundoffBf16 * c.row.products_max;
          }
          const AttentionBound bound =
              BoundOf(c.row, products, kernels().activation_dtype(), error);
          const auto at = static_cast<size_t>(c.token * shape.n_heads() + c.head);
          const auto head_dim = static_cast<size_t>(shape.head_dim);
          ASSERT_TRUE(WithinBounds(std::span(got[i].out).subspan(at * head_dim, head_dim),
                                   c.row.out, bound.out))
              << "cache " << DTypeName(kv_dtype) << ", prefix " << sequences[i].prefix
              << ", tokens " << sequences[i].n_tokens << ", token " << c.token << ", head "
              << c.head;
          ASSERT_LE(std::abs(got[i].log_sum_exp[at] - c.row.log_sum_exp), bound.log_sum_exp)
              << "cache " << DTypeName(kv_dtype) << ", prefix " << sequences[i].prefix
              << ", tokens " << sequences[i].n_tokens << ", token " << c.token << ", head "
              << c.head << ", log-sum-exp " << c.row.log_sum_exp;
        }
        // The rows between were at least computed.
        for (const float x : got[i].out) ASSERT_LT(std::abs(x), 3.0f);
        for (const float x : got[i].log_sum_exp) ASSERT_FALSE(std::isnan(x));
      }
    }
  }

 private:
  // Of a score, since keys are put together in f32: a scaled element and two products, each no
  // larger than the largest bias, in 5 roundings and from cosines that are off by 2 u themselves.
  static double KeyError(const BatchShape& shape, const SequenceData& sequence, const Checked& c) {
    constexpr double kLargestElement = 127.0 / 64;
    double largest_bias = 0, q_size = 0;
    for (const float x : sequence.key_bias)
      largest_bias = std::max(largest_bias, static_cast<double>(std::abs(x)));
    const int64_t row = c.token * shape.n_heads() + c.head;
    for (int64_t d = 0; d < shape.head_dim; ++d)
      q_size += std::abs(sequence.q[static_cast<size_t>(row * shape.head_dim + d)]);
    return 7 * kRoundoffF32 * shape.softmax_scale() * q_size * (kLargestElement + 2 * largest_bias);
  }

  // By sequence; kept for all implementations.
  static const std::vector<std::vector<Checked>>& References(
      const BatchShape& shape, uint64_t seed, const std::vector<SequenceData>& sequences) {
    static std::map<uint64_t, std::vector<std::vector<Checked>>> made;
    std::vector<std::vector<Checked>>& references = made[seed];
    if (!references.empty()) return references;
    for (const SequenceData& sequence : sequences) {
      std::vector<Checked> checked;
      for (const int64_t token : TokensToCheck(sequence.n_tokens)) {
        for (int64_t head = 0; head < shape.n_heads(); ++head) {
          checked.push_back({token, head, ReferenceRow(shape, sequence, token, head)});
        }
      }
      references.push_back(std::move(checked));
    }
    return references;
  }
};

// int8 keys whose bias is kept apart: every head dim and layout, blocks that are begun, full and
// many, splits and windows.
TEST_P(AttentionTest, KeysWithABias) {
  uint64_t seed = 800;
  for (const int64_t head_dim : {6, 24, 64, 96, 128, 256}) {
    BatchShape shape{head_dim, kThreeAndTwo, 0, {{0, 1}, {127, 2}, {128, 40}}};
    shape.key_bias = true;
    ExpectReference(shape, seed++);
  }
}

TEST_P(AttentionTest, KeysWithABiasOverLongPrefixes) {
  uint64_t seed = 820;
  for (const int64_t window : {0, 200}) {
    BatchShape shape{64, kThree, window, {{1100, 1}, {1100, 40}, {2500, 2}}};
    shape.key_bias = true;
    ExpectReference(shape, seed++);
  }
}

TEST_P(AttentionTest, ShortSequences) {
  ExpectReference({64, kPairs, 0, {{0, 1}, {0, 2}, {0, 7}, {1, 1}, {1, 2}, {1, 7}}}, 1);
  ExpectReference({8, {0}, 0, {{0, 1}}}, 2);
  ExpectReference({16, kOneAndThree, 0, {{0, 64}, {1, 64}}}, 3);
  ExpectReference({24, kThree, 0, {{0, 130}, {1, 1}}}, 4);
}

TEST_P(AttentionTest, AroundBlocks) {
  ExpectReference({64, kThree, 0, {{127, 1}, {127, 2}, {128, 1}, {129, 7}}}, 10);
  ExpectReference({128, kThreeAndTwo, 0, {{128, 64}, {0, 130}, {129, 256}}}, 11);
  ExpectReference({16, kThreeAndTwo, 0, {{1, 130}, {127, 64}, {127, 256}}}, 12);
  ExpectReference({80, kPairs, 0, {{127, 7}, {128, 2}, {127, 130}}}, 13);
  ExpectReference({256, kPairs, 0, {{129, 2}, {0, 64}, {128, 7}}}, 14);
}

TEST_P(AttentionTest, LongPrefixes) {
  ExpectReference({8, kOneByOne, 0, {{1000, 7}, {2500, 64}}}, 20);
  ExpectReference({16, kThreeAndTwo, 0, {{1000, 256}}}, 21);
  ExpectReference({24, kThree, 0, {{1000, 130}, {2500, 130}}}, 22);
  ExpectReference({80, kPairs, 0, {{1000, 64}}}, 23);
  ExpectReference({256, kOneByOne, 0, {{1000, 64}}}, 24);
  ExpectReference({64, kThreeAndTwo, 0, {{2500, 256}}}, 25);
}

// Few rows over many keys: implementations split the keys and merge.
TEST_P(AttentionTest, DecodingOverLongPrefixes) {
  ExpectReference({128, kEight, 0, {{1000, 1}, {2500, 1}, {2500, 2}, {2500, 7}}}, 30);
  ExpectReference({64, kThreeAndTwo, 0, {{2500, 1}, {1022, 1}, {1023, 1}, {1024, 1}, {1022, 3}}},
                  31);
  ExpectReference({8, {0}, 0, {{2500, 1}, {2500, 16}, {2500, 17}, {2047, 1}, {2048, 1}}}, 32);
  ExpectReference({80, kPairs, 0, {{2500, 1}, {2500, 7}}}, 33);
  ExpectReference({256, kOneByOne, 0, {{2500, 1}, {1000, 2}}}, 34);
  ExpectReference({24, kThree, 0, {{2500, 1}, {2500, 5}, {2500, 6}}}, 35);
}

TEST_P(AttentionTest, Windows) {
  ExpectReference({64, kThreeAndTwo, 1, {{0, 7}, {129, 1}, {1000, 64}, {0, 1}}}, 40);
  ExpectReference({24, kOneAndThree, 5, {{0, 2}, {127, 7}, {2500, 130}, {2500, 1}, {4, 1}}}, 41);
  ExpectReference({64, kPairs, 128, {{0, 130}, {127, 2}, {128, 256}, {1000, 1}, {127, 1}}}, 42);
  ExpectReference({128, kThree, 200, {{129, 64}, {1000, 256}, {2500, 1}, {2500, 7}}}, 43);
  ExpectReference({8, kOneByOne, 128, {{1000, 130}, {255, 1}, {256, 1}}}, 44);
  // Wide enough that its keys are split; the first split begins within a block, and one row of a
  // chunk sees none of it.
  ExpectReference({16, kEight, 1300, {{2500, 1}, {2346, 2}, {1000, 2}, {2323, 1}}}, 45);
  ExpectReference({64, kThree, 1025, {{2047, 5}, {2048, 1}, {2049, 1}}}, 46);
  ExpectReference({64, kThree, 1024, {{2045, 5}}}, 47);
}

TEST_P(AttentionTest, ScoresOfEverySize) {
  uint64_t seed = 50;
  for (const float deviation : {0.0f, 1e-6f, 1e-2f, 5.0f, 20.0f}) {  // 20: beyond 60 either way
    BatchShape shape{64, kThreeAndTwo, 0, {{0, 64}, {1000, 7}, {2500, 1}}};
    shape.score_deviation = deviation;
    ExpectReference(shape, seed++);
  }
}

// Around the cap, far below it and far beyond it, where all keys count the same.
TEST_P(AttentionTest, ShortWithCappedScores) {
  uint64_t seed = 90;
  for (const float cap : {0.5f, 5.0f, 50.0f}) {
    for (const int64_t window : {0, 40}) {
      BatchShape shape{64, kThreeAndTwo, window, {{0, 20}, {130, 7}, {200, 1}}};
      shape.score_deviation = 5.0f;
      shape.score_cap = cap;
      ExpectReference(shape, seed++);
      shape.head_dim = 24;
      ExpectReference(shape, seed++);
    }
  }
}

TEST_P(AttentionTest, OneKeyOutshinesAll) {
  for (const int64_t window : {0, 200}) {
    BatchShape shape{128, kPairs, window, {{0, 7}, {1000, 130}, {2500, 1}}};
    shape.dominant_key = true;
    ExpectReference(shape, 300 + static_cast<uint64_t>(window));
  }
}

TEST_P(AttentionTest, SequencesWithoutTokensAndWithoutSequences) {
  ExpectReference({64, kPairs, 0, {{5, 0}, {3, 2}, {0, 0}, {128, 0}}}, 600);
  EXPECT_TRUE(RunAttention(backend(), DType::kF32, {64, kPairs, 0, {}}, {}, {}).empty());
}

// So many keys that an implementation cannot split them at a fixed length into a fixed scratch.
TEST_P(AttentionTest, VeryLongPrefixes) {
  ExpectReference({8, {0}, 0, {{65535, 1}, {65536, 1}, {70000, 2}}}, 60);
  ExpectReference({8, {0}, 66001, {{70000, 1}, {66050, 16}}}, 61);
}

// A query that is not a number must not become a plausible answer.
TEST_P(AttentionTest, LosesNoNan) {
  for (const int64_t prefix : {0, 130, 2500}) {
    BatchShape shape{64, kPairs, 0, {{prefix, 3}}};
    shape.score_cap = prefix == 130 ? 30.0f : 0.0f;
    std::vector<SequenceData> sequences = MakeSequences(shape, 700);
    sequences[0].q[64 * 4 + 64 + 5] = std::numeric_limits<float>::quiet_NaN();  // token 1, head 1
    for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      const std::vector<AttentionOutput> got =
          RunAttention(backend(), kv_dtype, shape, sequences, {0});
      for (size_t i = 0; i < got[0].out.size(); ++i) {
        ASSERT_EQ(std::isnan(got[0].out[i]), i / 64 == 5)
            << "cache " << DTypeName(kv_dtype) << ", prefix " << prefix << ", element " << i;
      }
      for (size_t i = 0; i < got[0].log_sum_exp.size(); ++i) {
        ASSERT_EQ(std::isnan(got[0].log_sum_exp[i]), i == 5)
            << "cache " << DTypeName(kv_dtype) << ", prefix " << prefix << ", row " << i;
      }
    }
  }
}

// Nor must a key that is none: it is for those who see it, and for nobody else.
TEST_P(AttentionTest, KeysOfNanReachThoseThatSeeThemAlone) {
  struct Case {
    int64_t prefix, n_tokens, hurt, window;  // hurt: a position
  };
  for (const Case& c : {Case{0, 5, 3, 0}, Case{130, 5, 132, 0}, Case{130, 5, 7, 0},
                        Case{130, 5, 133, 0}, Case{127, 70, 140, 0}, Case{127, 70, 120, 16},
                        Case{2500, 3, 2501, 0}, Case{2500, 3, 1200, 0}}) {
    const BatchShape shape{64, kPairs, c.window, {{c.prefix, c.n_tokens}}};
    const std::vector<SequenceData> whole = MakeSequences(shape, 701);
    std::vector<SequenceData> hurt = whole;
    constexpr int64_t kHurtHead = 1;
    const auto at = static_cast<size_t>(kHurtHead * hurt[0].end() + c.hurt);
    hurt[0].k_scales[at] = std::numeric_limits<float>::quiet_NaN();
    for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      const std::vector<float> want = RunAttention(backend(), kv_dtype, shape, whole, {0})[0].out;
      const std::vector<float> got = RunAttention(backend(), kv_dtype, shape, hurt, {0})[0].out;
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        const auto head = static_cast<int64_t>(i / 64) % shape.n_heads();
        const int64_t position = c.prefix + static_cast<int64_t>(i / 64) / shape.n_heads();
        const bool sees = shape.kv_head_of[static_cast<size_t>(head)] == kHurtHead &&
                          position >= c.hurt && (c.window == 0 || position - c.window < c.hurt);
        ASSERT_EQ(std::isnan(got[i]), sees)
            << "cache " << DTypeName(kv_dtype) << ", prefix " << c.prefix << ", position "
            << position << ", head " << head;
        if (!sees) {
          ASSERT_EQ(got[i], want[i]);
        }
      }
    }
  }
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(AttentionTest);

}  // namespace
}  // namespace kvfold
