// Forks of a cache under a running transformer: parent and child go on as if the other were not
// there, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/all_close.h"
#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

constexpr int64_t kChunk = 40;

// One rank's transformer with caches made by hand, in a pool for three sequences.
class HandMadeRank {
 public:
  HandMadeRank(LocalRank& rank, DType kv_dtype)
      : rank_(rank),
        layout_(RankKvLayout(rank.config, rank.plan.rank(rank.communicator.rank()), rank.kernels,
                             kv_dtype)),
        pool_(rank.device, layout_, KvPool::BlocksFor(layout_, {900, kChunk, 3})),
        context_(rank.config, rank.plan, rank.communicator.rank(), rank.kernels, rank.device,
                 {.max_rows = kChunk,
                  .max_sequences = 1,
                  .max_logit_rows = 8,
                  .max_gather_rows = 4,
                  .kv_dtype = kv_dtype}),
        transformer_(rank.config, rank.plan, rank.weights, rank.kernels, rank.communicator) {
    transformer_.Prepare(context_);
  }

  KvPool& pool() { return pool_; }

  // Logits [tokens, vocab_size] of `tokens` after what the cache holds.
  std::vector<float> Fold(KvCache& cache, std::span<const TokenId> tokens) {
    std::vector<float> logits;
    const auto vocab_size = rank_.config.vocab_size;
    for (size_t begin = 0; begin < tokens.size(); begin += kChunk) {
      const auto part = tokens.subspan(begin, std::min<size_t>(kChunk, tokens.size() - begin));
      const auto rows = static_cast<int64_t>(part.size());
      std::vector<float> embeddings(part.size() * static_cast<size_t>(rank_.config.hidden));
      rank_.embeddings.Gather(part, embeddings.data());
      PendingChunk chunk = cache.Begin(rows);
      const StepSequence sequence{&cache, &chunk, rows};
      transformer_.Forward(context_,
                           F32View(std::as_const(embeddings).data(), rows, rank_.config.hidden),
                           std::span(&sequence, 1));
      cache.Commit(std::move(chunk));
      cache.DropOutOfSight();
      for (int64_t row = 0; row < rows; row += 4) {
        const int64_t end = std::min(rows, row + 4);
        std::vector<float> tile(static_cast<size_t>((end - row) * vocab_size));
        transformer_.GatherLogits(context_, row, end, tile);
        logits.insert(logits.end(), tile.begin(), tile.end());
      }
    }
    return logits;
  }

 private:
  LocalRank& rank_;
  KvLayout layout_;
  KvPool pool_;
  StepContext context_;
  Transformer transformer_;
};

class ForkTest : public testing::TestWithParam<std::tuple<DType, int, int64_t>> {};

TEST_P(ForkTest, ParentAndChildGoOnAsIfAlone) {
  const auto [kv_dtype, tp_size, prefix_tokens] = GetParam();
  ModelConfig config = RandomConfig(5);
  config.n_heads = 6;
  config.n_kv_heads = 2;
  SetWindows(config, {0, 50, 0});
  const RandomCheckpoint checkpoint(config, 5);
  SCOPED_TRACE(Describe(config));
  const auto prefix = RandomTokens(config, prefix_tokens, 1);
  const auto parent_text = RandomTokens(config, 150, 2);
  const auto child_text = RandomTokens(config, 170, 3);
  // Every rank runs the same calls; the engine of RunLocalModel stays idle.
  const DType kv = kv_dtype;
  RunLocalModel(
      "random", {.tp_size = tp_size, .max_tokens = 1, .config = config, .checkpoint = &checkpoint},
      [](LocalRank&) {},
      [&](LocalRank& rank) {
        HandMadeRank hand_made(rank, kv);
        const auto unforked = [&](std::span<const TokenId> text) {
          KvCache cache(hand_made.pool());
          hand_made.Fold(cache, prefix);
          return hand_made.Fold(cache, text);
        };
        const auto want_parent = unforked(parent_text);
        const auto want_child = unforked(child_text);

        KvCache parent(hand_made.pool());
        hand_made.Fold(parent, prefix);
        std::vector<float> got_parent, got_child;
        {
          const auto child = parent.Fork();
          ASSERT_EQ(child->length(), prefix_tokens);
          // By turns, in pieces of a chunk: either writes while the other's tail is open.
          for (size_t at = 0; at < child_text.size(); at += kChunk) {
            const auto piece = [at](const std::vector<TokenId>& text) {
              return std::span(text).subspan(
                  std::min(at, text.size()),
                  std::min<size_t>(kChunk, text.size() - std::min(at, text.size())));
            };
            const auto of_child = hand_made.Fold(*child, piece(child_text));
            got_child.insert(got_child.end(), of_child.begin(), of_child.end());
            const auto of_parent = hand_made.Fold(parent, piece(parent_text));
            got_parent.insert(got_parent.end(), of_parent.begin(), of_parent.end());
          }
        }
        EXPECT_TRUE(SameBits(got_parent, want_parent)) << "rank " << rank.communicator.rank();
        EXPECT_TRUE(SameBits(got_child, want_child)) << "rank " << rank.communicator.rank();

        // The child is gone; the parent forgets what it added and goes another way.
        if (prefix_tokens == 0) return;
        KvCache again(hand_made.pool());
        hand_made.Fold(again, prefix);
        { const auto dropped = again.Fork(); }
        EXPECT_TRUE(SameBits(hand_made.Fold(again, child_text), want_child));
      });
}

// A fork of nothing, of an open tail, of exactly full blocks, and of blocks with a tail.
INSTANTIATE_TEST_SUITE_P(Prefixes, ForkTest,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16, DType::kI8),
                                          testing::Values(1, 3),
                                          testing::Values<int64_t>(0, 1, 127, 128, 129, 300)));

}  // namespace
}  // namespace kvfold
