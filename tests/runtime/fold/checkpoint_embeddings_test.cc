#include "runtime/weights/checkpoint_embeddings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/error.h"
#include "runtime/weights/weights.h"
#include "tests/support/all_close.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

ModelConfig SmallConfig() {
  ModelConfig config = RandomConfig(4);
  SetWindows(config, {0});
  return config;
}

class CheckpointEmbeddingsTest : public testing::Test {
 protected:
  std::vector<float> Gathered(std::span<const int32_t> tokens) const {
    std::vector<float> rows(tokens.size() * static_cast<size_t>(config_.hidden));
    source_.Gather(tokens, rows.data());
    return rows;
  }

  ModelConfig config_ = SmallConfig();
  RandomCheckpoint checkpoint_{config_, 9};
  CheckpointEmbeddings source_{config_, checkpoint_};
  std::vector<TokenId> tokens_ = RandomTokens(config_, 20, 1);
};

TEST_F(CheckpointEmbeddingsTest, GathersRowsOfTheTable) {
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

TEST_F(CheckpointEmbeddingsTest, TokenOutsideTheTableIsABug) {
  const std::vector<TokenId> outside = {static_cast<TokenId>(config_.vocab_size)};
  EXPECT_THROW(Gathered(outside), std::logic_error);
  EXPECT_THROW(Gathered(std::vector<TokenId>{-1}), std::logic_error);
}

TEST(CheckpointEmbeddingsErrorsTest, TableMissingOrOfAnotherShapeIsNamed) {
  const ModelConfig config = SmallConfig();
  const auto refusal = [&](const Checkpoint& checkpoint) -> std::string {
    try {
      const CheckpointEmbeddings source(config, checkpoint);
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
