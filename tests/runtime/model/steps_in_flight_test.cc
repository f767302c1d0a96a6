// Two steps in flight: halves of layers of two contexts, interleaved, give the bits that each step
// gives alone.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

constexpr int64_t kChunk = 40;

// One step of one sequence, in a context of its own.
class Step {
 public:
  Step(LocalRank& rank, const Transformer& transformer)
      : rank_(rank),
        transformer_(transformer),
        context_(rank.config, rank.plan, rank.communicator.rank(), rank.kernels, rank.device,
                 {.max_rows = kChunk,
                  .max_sequences = 1,
                  .max_logit_rows = kChunk,
                  .max_gather_rows = kChunk}) {
    transformer_.Prepare(context_);
  }

  void Begin(KvCache& cache, std::span<const TokenId> tokens) {
    cache_ = &cache;
    rows_ = static_cast<int64_t>(tokens.size());
    std::vector<float> embeddings(tokens.size() * static_cast<size_t>(rank_.config.hidden));
    rank_.embeddings.Gather(tokens, embeddings.data());
    chunk_ = cache.Begin(rows_);
    const StepSequence sequence{&cache, &chunk_, rows_};
    transformer_.BeginStep(context_,
                           F32View(std::as_const(embeddings).data(), rows_, rank_.config.hidden),
                           std::span(&sequence, 1));
  }
  // Halves 0 and 1 are layer 0's; what is beyond the last layer, or before the first, is none.
  void RunHalf(int64_t half) {
    if (half < 0 || half >= 2 * rank_.config.n_layers()) return;
    if (half % 2 == 0) transformer_.StartAttentionHalf(context_, half / 2);
    if (half % 2 == 1) transformer_.StartFeedForwardHalf(context_, half / 2);
  }
  // Logits [tokens, vocab_size]; the chunk becomes a part of the sequence.
  std::vector<float> Finish() {
    transformer_.FinishStep(context_);
    cache_->Commit(std::move(chunk_));
    std::vector<float> logits(static_cast<size_t>(rows_ * rank_.config.vocab_size));
    transformer_.GatherLogits(context_, 0, rows_, logits);
    return logits;
  }
  std::vector<float> Run(KvCache& cache, std::span<const TokenId> tokens) {
    Begin(cache, tokens);
    for (int64_t half = 0; half < 2 * rank_.config.n_layers(); ++half) RunHalf(half);
    return Finish();
  }

 private:
  LocalRank& rank_;
  const Transformer& transformer_;
  StepContext context_;
  KvCache* cache_ = nullptr;
  PendingChunk chunk_;
  int64_t rows_ = 0;
};

void RunBothWays(LocalRank& rank, int64_t lag, bool same_sequence) {
  const KvLayout layout = RankKvLayout(rank.config, rank.plan.rank(rank.communicator.rank()),
                                       rank.kernels, DType::kF32);
  KvPool pool(rank.device, layout, KvPool::BlocksFor(layout, {8 * kChunk, 2 * kChunk, 4}));
  const Transformer transformer(rank.config, rank.plan, rank.weights, rank.kernels,
                                rank.communicator);
  const std::vector<TokenId> tokens = RandomTokens(rank.config, 2 * kChunk - 3, 5);
  const auto first = std::span(tokens).first(kChunk);
  const auto second = std::span(tokens).subspan(kChunk);
  Step a(rank, transformer), b(rank, transformer);

  KvCache alone(pool), other_alone(pool);
  const std::vector<float> want_first = a.Run(alone, first);
  const std::vector<float> want_second = a.Run(same_sequence ? alone : other_alone, second);

  KvCache cache(pool), other(pool);
  a.Begin(cache, first);
  b.Begin(same_sequence ? cache : other, second);
  for (int64_t half = 0; half < 2 * rank.config.n_layers() + lag; ++half) {
    a.RunHalf(half);
    b.RunHalf(half - lag);
  }
  EXPECT_EQ(a.Finish(), want_first);
  EXPECT_EQ(b.Finish(), want_second);
}

TEST(StepsInFlight, GiveTheBitsOfEachAlone) {
  for (const uint64_t seed : {3, 8, 11}) {
    const ModelConfig config = RandomConfig(seed);
    const RandomCheckpoint checkpoint(config, seed);
    for (const int tp_size : {1, static_cast<int>(config.n_heads)}) {
      SCOPED_TRACE(fmt::format("{} on {} ranks", Describe(config), tp_size));
      LocalModelOptions options;
      options.tp_size = tp_size;
      options.config = config;
      options.checkpoint = &checkpoint;
      RunLocalModel(
          "random", options, [](LocalRank&) {},
          [](LocalRank& rank) {
            RunBothWays(rank, /*lag=*/0, /*same_sequence=*/false);
            RunBothWays(rank, /*lag=*/1, /*same_sequence=*/false);
            // The second chunk of a sequence may be in a layer as soon as the first has left its
            // attention behind.
            RunBothWays(rank, /*lag=*/0, /*same_sequence=*/true);
            RunBothWays(rank, /*lag=*/3, /*same_sequence=*/true);
          });
    }
  }
}

}  // namespace
}  // namespace kvfold
