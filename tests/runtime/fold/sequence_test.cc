// A sequence alone: what it feeds and when, what it reads ahead, and what its end leaves behind.
#include "runtime/fold/sequence.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "tests/support/all_close.h"
#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

constexpr int64_t kChunk = 16;

// Counts the rows that are read.
class CountingEmbeddings : public EmbeddingSource {
 public:
  explicit CountingEmbeddings(const EmbeddingSource& base) : base_(base) {}
  int64_t hidden() const override { return base_.hidden(); }
  void Gather(std::span<const int32_t> tokens, float* out) const override {
    rows_ += static_cast<int64_t>(tokens.size());
    base_.Gather(tokens, out);
  }
  int64_t rows() const { return rows_; }

 private:
  const EmbeddingSource& base_;
  mutable std::atomic<int64_t> rows_{0};
};

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() {
    SetWindows(config_, {0, 0});
    checkpoint_.emplace(config_, 6);
  }
  void Run(const std::function<void(LocalRank&)>& body, int64_t max_sequences = 3) {
    LocalModelOptions options;
    options.config = config_;
    options.checkpoint = &*checkpoint_;
    options.tp_size = config_.n_heads > 1 ? 2 : 1;
    options.chunk = kChunk;
    options.max_sequences = max_sequences;
    options.max_step_rows = 2 * kChunk + 1;
    RunLocalModel("random", options, body);
  }
  // The sequence's whole text, alone; logits of its last token.
  static std::vector<float> FoldAll(LocalRank& rank, Sequence& sequence) {
    std::vector<float> last;
    while (sequence.folding()) {
      StepPlan plan;
      EXPECT_TRUE(sequence.FeedChunk(plan, Sequence::LogitRows::kLast));
      plan.logit_use = LogitUse::kGather;
      rank.engine.Run(plan, [&](int64_t, std::span<const float> logits) {
        last.assign(logits.begin(), logits.end());
      });
    }
    return last;
  }
  static int64_t FreeBlocks(LocalRank& rank) {
    StepPlan plan;  // takes what was released along
    rank.engine.Run(plan, {});
    return rank.engine.pool().free_blocks(0);
  }

  ModelConfig config_ = RandomConfig(4);
  std::optional<RandomCheckpoint> checkpoint_;
};

TEST_F(SequenceTest, CutsChunksFromTheTextsStartAndReadsEveryRowOnce) {
  const auto tokens = RandomTokens(config_, 40, 1);
  Run([&](LocalRank& rank) {
    const CountingEmbeddings embeddings(rank.embeddings);
    Sequence sequence(rank.engine, embeddings, kChunk);
    sequence.Fold(tokens);
    std::vector<int64_t> lengths;
    std::vector<float> fed;
    int64_t wanted = 0;
    while (sequence.folding()) {
      StepPlan plan;
      ASSERT_TRUE(sequence.FeedChunk(plan, Sequence::LogitRows::kLast));
      lengths.push_back(sequence.length());
      fed.insert(fed.end(), plan.embeddings.begin(), plan.embeddings.end());
      wanted += plan.wanted_rows();
      rank.engine.Run(plan, {});
    }
    EXPECT_EQ(lengths, (std::vector<int64_t>{16, 32, 40}));
    EXPECT_EQ(wanted, 1);
    EXPECT_EQ(embeddings.rows(), 40);
    std::vector<float> want(tokens.size() * static_cast<size_t>(config_.hidden));
    rank.embeddings.Gather(tokens, want.data());
    EXPECT_TRUE(SameBits(fed, want));
  });
}

TEST_F(SequenceTest, WaitsForAStepThatHasRoom) {
  Run([&](LocalRank& rank) {
    Sequence a(rank.engine, rank.embeddings, kChunk), b(rank.engine, rank.embeddings, kChunk),
        c(rank.engine, rank.embeddings, kChunk);
    for (Sequence* sequence : {&a, &b, &c}) sequence->Fold(RandomTokens(config_, kChunk, 2));
    StepPlan plan;
    EXPECT_TRUE(a.FeedChunk(plan, Sequence::LogitRows::kNone));
    EXPECT_TRUE(b.FeedChunk(plan, Sequence::LogitRows::kNone));
    EXPECT_FALSE(c.FeedChunk(plan, Sequence::LogitRows::kNone));
    EXPECT_EQ(c.length(), 0);
    EXPECT_EQ(plan.rows(), 2 * kChunk);
    rank.engine.Run(plan, {});
    StepPlan next;
    EXPECT_TRUE(c.FeedChunk(next, Sequence::LogitRows::kNone));
    rank.engine.Run(next, {});
  });
}

TEST_F(SequenceTest, OneThatGoesInTheMiddleOfItsTextFreesItsBlocks) {
  Run([&](LocalRank& rank) {
    const int64_t all = rank.engine.pool().free_blocks(0);
    std::optional<Sequence> cancelled;
    cancelled.emplace(rank.engine, rank.embeddings, kChunk);
    cancelled->Fold(RandomTokens(config_, 300, 3));
    StepPlan plan;
    cancelled->FeedChunk(plan, Sequence::LogitRows::kNone);
    rank.engine.Run(plan, {});
    EXPECT_LT(rank.engine.pool().free_blocks(0), all);
    cancelled.reset();  // its next chunk is being gathered
    EXPECT_TRUE(rank.engine.has_changes());
    EXPECT_EQ(FreeBlocks(rank), all);
    EXPECT_FALSE(rank.engine.has_changes());
  });
}

TEST_F(SequenceTest, AForkGoesOnAsIfItHadFoldedAll) {
  const auto prefix = RandomTokens(config_, 2 * kChunk, 4);
  auto longer = prefix;
  for (const TokenId token : RandomTokens(config_, 9, 5)) longer.push_back(token);
  Run([&](LocalRank& rank) {
    Sequence alone(rank.engine, rank.embeddings, kChunk);
    alone.Fold(longer);
    const std::vector<float> want = FoldAll(rank, alone);

    std::optional<Sequence> parent;
    parent.emplace(rank.engine, rank.embeddings, kChunk);
    parent->Fold(prefix);
    FoldAll(rank, *parent);
    Sequence fork = parent->Fork();
    EXPECT_EQ(fork.length(), 2 * kChunk);
    parent.reset();  // before the step that makes the fork
    fork.Fold(longer);
    EXPECT_TRUE(SameBits(FoldAll(rank, fork), want));
  });
}

TEST_F(SequenceTest, ForksThatGoBeforeTheyAreMadeLeaveNothing) {
  Run([&](LocalRank& rank) {
    const int64_t all = rank.engine.pool().free_blocks(0);
    {
      Sequence parent(rank.engine, rank.embeddings, kChunk);
      parent.Fold(RandomTokens(config_, 20, 6));
      FoldAll(rank, parent);
      const Sequence fork = parent.Fork();
      const Sequence fork_of_fork = fork.Fork();
    }
    FreeBlocks(rank);  // makes the forks; the next step frees all
    EXPECT_EQ(FreeBlocks(rank), all);
    const Sequence never_fed(rank.engine, rank.embeddings, kChunk);
    const Sequence fork = never_fed.Fork();
    EXPECT_FALSE(rank.engine.has_changes());
  });
}

TEST_F(SequenceTest, MisuseIsABug) {
  Run([&](LocalRank& rank) {
    EXPECT_THROW(Sequence(rank.engine, rank.embeddings, 0), std::logic_error);
    EXPECT_THROW(Sequence(rank.engine, rank.embeddings, kChunk + 1), std::logic_error);
    Sequence sequence(rank.engine, rank.embeddings, kChunk);
    StepPlan plan;
    EXPECT_THROW(sequence.FeedChunk(plan, Sequence::LogitRows::kNone), std::logic_error);
    sequence.Fold({1, 2});
    EXPECT_THROW(sequence.FeedToken(plan, 1), std::logic_error);
  });
}

}  // namespace
}  // namespace kvfold
