#include "runtime/weights/embedding_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "comm/error.h"
#include "runtime/weights/weights.h"
#include "tests/support/all_close.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

ModelConfig SmallConfig() {
  ModelConfig config = RandomConfig(4);
  config.n_layers = 1;
  config.layer_windows = {0};
  return config;
}

// Counts what is read.
class CountingCheckpoint : public RandomCheckpoint {
 public:
  using RandomCheckpoint::RandomCheckpoint;
  void ReadBlock(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t col_begin,
                 int64_t col_end, float* out) const override {
    ++reads_;
    RandomCheckpoint::ReadBlock(tensor, row_begin, row_end, col_begin, col_end, out);
  }
  int64_t reads() const { return reads_; }

 private:
  mutable std::atomic<int64_t> reads_{0};
};

class EmbeddingSourceTest : public testing::Test {
 protected:
  std::vector<float> Gathered(std::span<const int32_t> tokens) const {
    std::vector<float> rows(tokens.size() * static_cast<size_t>(config_.hidden));
    source_.Gather(tokens, rows.data());
    return rows;
  }
  std::vector<float> Taken(int64_t key, std::span<const int32_t> tokens) {
    std::vector<float> rows(tokens.size() * static_cast<size_t>(config_.hidden));
    source_.Take(key, tokens, rows.data());
    return rows;
  }

  ModelConfig config_ = SmallConfig();
  CountingCheckpoint checkpoint_{config_, 9};
  EmbeddingSource source_{config_, checkpoint_};
  std::vector<TokenId> tokens_ = RandomTokens(config_, 20, 1);
};

TEST_F(EmbeddingSourceTest, GathersRowsOfTheTable) {
  tokens_.front() = 0;
  tokens_.back() = static_cast<TokenId>(config_.vocab_size - 1);
  const std::vector<float> got = Gathered(tokens_);
  const TensorInfo& table = *checkpoint_.Find(kEmbeddingTensor);
  for (size_t t = 0; t < tokens_.size(); ++t) {
    std::vector<float> want(static_cast<size_t>(config_.hidden));
    checkpoint_.ReadBlock(table, tokens_[t], tokens_[t] + 1, 0, config_.hidden, want.data());
    EXPECT_TRUE(SameBits(std::span(got).subspan(t * want.size(), want.size()), want)) << t;
  }
  EXPECT_TRUE(Gathered({}).empty());
}

TEST_F(EmbeddingSourceTest, PrefetchedRowsAreTheGatheredOnesAndReadOnce) {
  const std::vector<float> want = Gathered(tokens_);
  const int64_t before = checkpoint_.reads();
  source_.Prefetch(7, tokens_);
  EXPECT_TRUE(SameBits(Taken(7, tokens_), want));
  EXPECT_EQ(checkpoint_.reads() - before, 20);
  // Taken once, it is gone: the next one gathers.
  EXPECT_TRUE(SameBits(Taken(7, tokens_), want));
  EXPECT_EQ(checkpoint_.reads() - before, 40);
}

TEST_F(EmbeddingSourceTest, OtherTokensThanPrefetchedAreGathered) {
  std::vector<TokenId> other = tokens_;
  other.back() = (other.back() + 1) % static_cast<TokenId>(config_.vocab_size);
  source_.Prefetch(1, other);
  EXPECT_TRUE(SameBits(Taken(1, tokens_), Gathered(tokens_)));
  const std::span<const TokenId> shorter = std::span<const TokenId>(tokens_).first(5);
  source_.Prefetch(1, tokens_);
  EXPECT_TRUE(SameBits(Taken(1, shorter), Gathered(shorter)));
}

TEST_F(EmbeddingSourceTest, KeysAreApartAndTheLastPrefetchCounts) {
  const std::vector<TokenId> a = RandomTokens(config_, 6, 2), b = RandomTokens(config_, 9, 3);
  const std::vector<float> want_a = Gathered(a), want_b = Gathered(b);
  source_.Prefetch(1, a);
  source_.Prefetch(2, b);
  EXPECT_TRUE(SameBits(Taken(2, b), want_b));
  EXPECT_TRUE(SameBits(Taken(1, a), want_a));
  source_.Prefetch(1, a);
  source_.Prefetch(1, b);
  EXPECT_TRUE(SameBits(Taken(1, b), want_b));
  source_.Prefetch(3, a);  // never taken: the end waits for it
}

TEST_F(EmbeddingSourceTest, TokenOutsideTheTableIsABug) {
  const std::vector<TokenId> outside = {static_cast<TokenId>(config_.vocab_size)};
  EXPECT_THROW(Gathered(outside), std::logic_error);
  source_.Prefetch(1, {-1});
  EXPECT_THROW(Taken(1, std::vector<TokenId>{-1}), std::logic_error);
}

TEST(EmbeddingSourceErrorsTest, TableMissingOrOfAnotherShapeIsNamed) {
  const ModelConfig config = SmallConfig();
  const auto refusal = [&](const Checkpoint& checkpoint) -> std::string {
    try {
      const EmbeddingSource source(config, checkpoint);
    } catch (const InputError& error) {
      return error.what();
    }
    return "not refused";
  };
  RandomCheckpoint missing(config, 1);
  missing.Remove(kEmbeddingTensor);
  EXPECT_THAT(refusal(missing), HasSubstr(kEmbeddingTensor));
  RandomCheckpoint reshaped(config, 1);
  reshaped.Reshape(kEmbeddingTensor, config.vocab_size + 1, config.hidden);
  EXPECT_THAT(refusal(reshaped), HasSubstr(kEmbeddingTensor));
}

}  // namespace
}  // namespace kvfold
