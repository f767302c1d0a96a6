// Attention with matrix units, beyond what the conformance suite brings: every head_dim that has
// them, both tilings, splits and merges, the same bits under every schedule.
#include <numeric>

#include "tests/runtime/kernels/attention_batch.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

std::vector<int32_t> Groups(int n_kv_heads, int group) {
  std::vector<int32_t> kv_head_of;
  for (int h = 0; h < n_kv_heads * group; ++h) kv_head_of.push_back(h / group);
  return kv_head_of;
}

class MatrixAttentionTest : public KernelsTest {
 protected:
  void SetUp() override {
    if (kernels().activation_dtype() != DType::kBF16) GTEST_SKIP() << "f32 takes the plain kernel";
  }
  // Rows around the edges of tiles, against the reference; all of them the same whatever the
  // schedule.
  void ExpectReference(const BatchShape& shape, uint64_t seed, bool all_schedules = false) {
    const std::vector<SequenceData> sequences = MakeSequences(shape, seed);
    std::vector<size_t> all(sequences.size());
    std::iota(all.begin(), all.end(), 0);
    for (const DType kv_dtype : {DType::kBF16, DType::kI8}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim << ", window "
                                      << shape.window << ", cache " << DTypeName(kv_dtype));
      UseThreads(2);
      const std::vector<AttentionOutput> got =
          RunAttention(backend(), kv_dtype, shape, sequences, all);
      for (size_t i = 0; i < got.size(); ++i) {
        const int64_t n_tokens = sequences[i].n_tokens;
        for (int64_t token = 0; token < n_tokens; ++token) {
          const bool edge = token < 2 || token + 2 > n_tokens || token % 32 == 31;
          for (int64_t head = 0; edge && head < shape.n_heads(); ++head) {
            const AttentionRow want = ReferenceRow(shape, sequences[i], token, head);
            const AttentionBound bound =
                BoundOf(want, DType::kBF16, DType::kBF16, {.score = CapError(shape.score_cap)});
            const auto at = static_cast<size_t>(token * shape.n_heads() + head);
            const auto head_dim = static_cast<size_t>(shape.head_dim);
            ASSERT_TRUE(WithinBounds(std::span(got[i].out).subspan(at * head_dim, head_dim),
                                     want.out, bound.out))
                << "prefix " << sequences[i].prefix << ", token " << token << ", head " << head;
            ASSERT_LE(std::abs(got[i].log_sum_exp[at] - want.log_sum_exp), bound.log_sum_exp)
                << "prefix " << sequences[i].prefix << ", token " << token << ", head " << head;
          }
        }
      }
      for (const int schedule : {1, 3}) {
        if (!all_schedules) break;
        UseThreads(schedule);
        const std::vector<AttentionOutput> again =
            RunAttention(backend(), kv_dtype, shape, sequences, all);
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_TRUE(SameBits(again[i].out, got[i].out)) << "schedule " << schedule;
          ASSERT_TRUE(SameBits(again[i].log_sum_exp, got[i].log_sum_exp));
        }
      }
    }
  }
};

TEST_P(MatrixAttentionTest, EveryHeadDimAndTiling) {
  uint64_t seed = 1;
  for (const int64_t head_dim : {64, 96, 128, 256}) {
    ExpectReference({head_dim, Groups(1, 4), 0, {{129, 1}, {130, 7}}}, seed++, true);
  }
}

TEST_P(MatrixAttentionTest, PrefixesAroundTiles) {
  uint64_t seed = 20;
  for (const int64_t prefix : {0, 1, 63, 64, 127, 128, 129, 500}) {
    ExpectReference({64, Groups(1, 3), 0, {{prefix, 1}, {prefix, 7}}}, seed++);
  }
}

TEST_P(MatrixAttentionTest, ChunksOverSeveralRowTiles) {
  ExpectReference({64, Groups(1, 1), 0, {{0, 64}, {1, 129}}}, 40);
  ExpectReference({128, Groups(1, 3), 0, {{128, 64}}}, 41);
  ExpectReference({64, Groups(1, 8), 0, {{127, 64}}}, 42);
}

TEST_P(MatrixAttentionTest, Groups1To8BesideEachOther) {
  ExpectReference({64, {0, 1, 1, 1, 2, 2, 2, 2}, 0, {{500, 1}, {129, 5}, {0, 2}}}, 50);
  ExpectReference({128, Groups(1, 8), 0, {{500, 2}, {500, 3}}}, 51);
}

TEST_P(MatrixAttentionTest, WindowsOverSplits) {
  ExpectReference({64, Groups(1, 4), 1, {{300, 1}, {0, 7}}}, 60);
  ExpectReference({64, Groups(1, 4), 100, {{500, 1}, {500, 40}}}, 61);
  ExpectReference({128, Groups(1, 2), 300, {{500, 1}, {290, 20}}}, 62);
}

TEST_P(MatrixAttentionTest, CappedScores) {
  uint64_t seed = 80;
  for (const int64_t head_dim : {64, 96, 128, 256}) {
    BatchShape shape{head_dim, Groups(1, 4), 0, {{129, 1}, {130, 7}, {700, 1}}};
    shape.score_deviation = 3.0f;
    shape.score_cap = 4.0f;
    ExpectReference(shape, seed++, true);
  }
}

TEST_P(MatrixAttentionTest, SplitsOfALongPrefix) {
  ExpectReference({64, Groups(1, 4), 0, {{2500, 1}, {1500, 5}}}, 70, true);
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(MatrixAttentionTest);

}  // namespace
}  // namespace kvfold
