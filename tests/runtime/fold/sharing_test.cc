// Requests that begin alike: the same bits as alone, what is saved is counted, and no block is
// lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "runtime/fold/scheduler.h"
#include "runtime/fold/shared_prefix.h"
#include "tests/support/all_close.h"
#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

// What a request came to.
struct Outcome {
  Completion completion;
  std::vector<float> logits;  // of all its tokens
  int64_t folded_tokens = 0;  // as `folded` told last
  int64_t n_chunks_left = -1;
};

using Outcomes = std::map<std::string, Outcome>;

class SharingTest : public testing::Test {
 protected:
  SharingTest() {
    config_.n_heads = 6;
    config_.n_kv_heads = 3;
    SetWindows(config_, {0, 50, 9});
    config_.vocab_size = 97;
    checkpoint_ = std::make_unique<RandomCheckpoint>(config_, 8);
  }

  LocalModelOptions Options() const {
    return {.chunk = 16, .max_tokens = 2000, .config = config_, .checkpoint = checkpoint_.get()};
  }
  // `document` then a text of its own.
  Request Ask(const std::string& id, const std::vector<TokenId>& document, int64_t own_tokens,
              int64_t max_new_tokens) const {
    Request request;
    request.id = id;
    std::vector<TokenId> tokens = document;
    const auto own = RandomTokens(config_, own_tokens, RequestKey(id));
    tokens.insert(tokens.end(), own.begin(), own.end());
    request.tokens = std::move(tokens);
    request.max_new_tokens = max_new_tokens;
    request.sampling = {.temperature = 1.5, .seed = 4};
    return request;
  }
  // Runs the groups, each submitted together, or every request by itself; checks that the pool is
  // whole at the end.
  Outcomes RunGroups(const LocalModelOptions& options, int64_t concurrency,
                     const std::vector<std::vector<Request>>& groups, bool together,
                     FoldTotals* totals = nullptr) const {
    Outcomes outcomes;
    RunLocalModel("random", options, [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings,
                          {.chunk = options.chunk, .concurrency = concurrency});
      for (const std::vector<Request>& group : groups) {
        std::vector<Scheduler::Submission> submissions;
        for (const Request& request : group) {
          Outcome& outcome = outcomes[request.id];
          Scheduler::Callbacks callbacks;
          callbacks.done = [&](const Completion& completion) { outcome.completion = completion; };
          callbacks.logits = [&](std::span<const float> row) {
            outcome.logits.insert(outcome.logits.end(), row.begin(), row.end());
          };
          callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens) {
            EXPECT_GT(tokens, outcome.folded_tokens);
            outcome.folded_tokens = tokens;
            outcome.n_chunks_left = n_chunks - chunk;
          };
          submissions.push_back({request, std::move(callbacks)});
          if (together) continue;
          scheduler.Submit(submissions.back().request, std::move(submissions.back().callbacks));
          submissions.clear();
        }
        if (together) scheduler.SubmitTogether(std::move(submissions));
      }
      while (scheduler.Step()) {
      }
      EXPECT_EQ(scheduler.waiting(), 0);
      if (totals != nullptr) *totals = scheduler.totals();
      const KvPool& pool = rank.engine.pool();
      for (int group = 0; group < static_cast<int>(pool.layout().groups.size()); ++group)
        EXPECT_EQ(pool.free_blocks(group), pool.capacity_blocks(group)) << "group " << group;
    });
    return outcomes;
  }
  static void ExpectSameResults(const Outcomes& got, const Outcomes& want) {
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [id, outcome] : want) {
      const Outcome& other = got.at(id);
      EXPECT_EQ(other.completion.tokens, outcome.completion.tokens) << id;
      EXPECT_EQ(other.completion.finish_reason, outcome.completion.finish_reason) << id;
      EXPECT_EQ(other.completion.prompt_tokens, outcome.completion.prompt_tokens) << id;
      EXPECT_TRUE(SameBits(other.logits, outcome.logits)) << id;
      EXPECT_FALSE(other.logits.empty()) << id;
      // What was folded for it and what was not are its prompt, and `folded` told of the first.
      EXPECT_EQ(other.folded_tokens + other.completion.shared_tokens,
                other.completion.prompt_tokens)
          << id;
      EXPECT_EQ(other.n_chunks_left, 0) << id;
    }
  }

  ModelConfig config_ = RandomConfig(8);
  std::unique_ptr<RandomCheckpoint> checkpoint_;
};

TEST_F(SharingTest, EqualsAloneBitForBit) {
  const auto document = RandomTokens(config_, 170, 1);  // 10 chunks of 16, and 10 tokens
  const std::vector<std::vector<Request>> groups = {
      {Ask("a", document, 5, 6), Ask("b", document, 40, 3), Ask("c", document, 1, 9),
       Ask("d", document, 17, 1), Ask("e", document, 22, 5)}};
  for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    for (const int tp_size : {1, 2, 3}) {
      LocalModelOptions options = Options();
      options.tp_size = tp_size;
      options.kv_dtype = kv_dtype;
      SCOPED_TRACE(fmt::format("cache of {}, {} ranks", DTypeName(kv_dtype), tp_size));
      const Outcomes alone = RunGroups(options, 1, groups, false);
      for (const int64_t concurrency : {1, 4}) {
        SCOPED_TRACE(fmt::format("concurrency {}", concurrency));
        options.max_sequences = concurrency + 1;
        FoldTotals totals;
        ExpectSameResults(RunGroups(options, concurrency, groups, true, &totals), alone);
        EXPECT_EQ(totals.shared_tokens, 4 * 160);
        EXPECT_EQ(totals.folded_tokens, 5 * 170 + 5 + 40 + 1 + 17 + 22 - 4 * 160);
        EXPECT_EQ(totals.chunks, 10 + 1 + 4 + 1 + 2 + 2);
        EXPECT_EQ(totals.new_tokens, 6 + 3 + 9 + 1 + 5);
        EXPECT_EQ(totals.decoded_tokens, totals.new_tokens - 5);
        EXPECT_GT(totals.fold_s, 0.0);
        EXPECT_GT(totals.decode_s, 0.0);
      }
    }
  }
}

// A prefix of less than a block, of just a block, of blocks and a tail: where windows have dropped
// all, some or none of what a fork shares.
TEST_F(SharingTest, PrefixesOfEveryPlaceInABlock) {
  for (const auto& [chunk, document_tokens] : std::vector<std::pair<int64_t, int64_t>>{
           {16, 16}, {64, 130}, {127, 127}, {128, 128}, {128, 300}, {43, 129}, {1, 140}}) {
    const auto document = RandomTokens(config_, document_tokens, 2);
    const std::vector<std::vector<Request>> groups = {
        {Ask("a", document, 140, 2), Ask("b", document, 1, 4), Ask("c", document, 70, 3)}};
    SCOPED_TRACE(fmt::format("chunk {}, document of {}", chunk, document_tokens));
    LocalModelOptions options = Options();
    options.chunk = chunk;
    const Outcomes alone = RunGroups(options, 1, groups, false);
    options.max_sequences = 3;
    FoldTotals totals;
    ExpectSameResults(RunGroups(options, 2, groups, true, &totals), alone);
    EXPECT_EQ(totals.shared_tokens, 2 * (document_tokens / chunk * chunk));
  }
}

TEST_F(SharingTest, FirstPaysForTheFold) {
  const auto document = RandomTokens(config_, 64, 3);
  const std::vector<std::vector<Request>> groups = {
      {Ask("a", document, 4, 2), Ask("b", document, 20, 2), Ask("c", document, 4, 2)}};
  LocalModelOptions options = Options();
  options.max_sequences = 2;
  const Outcomes outcomes = RunGroups(options, 1, groups, true);
  EXPECT_EQ(outcomes.at("a").completion.shared_tokens, 0);
  EXPECT_EQ(outcomes.at("a").completion.chunks, 5);
  EXPECT_EQ(outcomes.at("b").completion.shared_tokens, 64);
  EXPECT_EQ(outcomes.at("b").completion.chunks, 2);
  EXPECT_EQ(outcomes.at("c").completion.shared_tokens, 64);
  EXPECT_EQ(outcomes.at("c").completion.chunks, 1);
}

TEST_F(SharingTest, NothingIsSharedWhereNothingCanBe) {
  const auto document = RandomTokens(config_, 40, 4);
  const std::vector<Request> group = {Ask("a", document, 3, 3), Ask("b", document, 9, 3)};
  const auto shared = [&](const LocalModelOptions& options, std::vector<Request> requests) {
    int64_t shared_tokens = -1;
    RunLocalModel("random", options, [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = options.chunk});
      std::vector<Scheduler::Submission> submissions;
      for (Request& request : requests) submissions.push_back({std::move(request), {}});
      shared_tokens = scheduler.SubmitTogether(std::move(submissions));
      while (scheduler.Step()) {
      }
      EXPECT_EQ(scheduler.totals().shared_tokens > 0, shared_tokens > 0);
    });
    return shared_tokens;
  };
  LocalModelOptions options = Options();
  options.max_sequences = 2;
  EXPECT_EQ(shared(options, group), 32);
  EXPECT_EQ(shared(options, {group[0]}), 0);                       // one request
  EXPECT_EQ(shared(options, {}), 0);                               // none
  EXPECT_EQ(shared(options, {group[0], Ask("c", {}, 60, 3)}), 0);  // nothing in common
  EXPECT_EQ(shared(options, {group[0], Ask("d", {document[0]}, 1, 3)}), 0);
  options.max_sequences = 1;  // no sequence for the prefix
  EXPECT_EQ(shared(options, group), 0);
  options.max_sequences = 2;
  options.chunk = 41;  // no whole chunk
  EXPECT_EQ(shared(options, group), 0);
}

TEST_F(SharingTest, GroupIsTakenWholeOrNotAtAll) {
  const auto document = RandomTokens(config_, 40, 4);
  std::vector<Scheduler::Submission> submissions;
  submissions.push_back({Ask("a", document, 3, 3), {}});
  submissions.push_back({Ask("b", document, 3, 3), {}});
  std::vector<TokenId> outside = document;
  outside.push_back(static_cast<TokenId>(config_.vocab_size));
  submissions[1].request.tokens = std::move(outside);
  RunLocalModel("random", Options(), [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 16});
    EXPECT_THROW(scheduler.SubmitTogether(std::move(submissions)), InputError);
    EXPECT_EQ(scheduler.waiting(), 0);
    EXPECT_FALSE(scheduler.Step());
  });
}

// Groups of all sizes in pools that are just large enough for the longest request: nothing waits
// for ever, nothing overflows, and every result is that of the request alone.
TEST_F(SharingTest, TightPoolsNeitherOverflowNorStarve) {
  int64_t saved = 0;
  for (uint64_t seed = 1; seed <= 14; ++seed) {
    std::mt19937_64 random(seed);
    LocalModelOptions options = Options();
    options.chunk = std::array<int64_t, 5>{16, 30, 64, 100, 128}[random() % 5];
    int64_t longest = 0;
    std::vector<std::vector<Request>> groups;
    int64_t number = 0;
    for (int64_t g = 0; g < 4; ++g) {
      const auto document =
          RandomTokens(config_, Draw(random, 1, 300), seed * 100 + static_cast<uint64_t>(g));
      auto& group = groups.emplace_back();
      for (int64_t n = Draw(random, 1, 4); n > 0; --n) {
        group.push_back(
            Ask(fmt::format("{}", number++), document, Draw(random, 1, 60), Draw(random, 1, 12)));
        longest = std::max(longest, Scheduler::CacheTokens(group.back()));
      }
    }
    const Outcomes alone = RunGroups(options, 1, groups, false);
    for (const int64_t spare : {int64_t{0}, int64_t{1}, Draw(random, 2, 200), longest}) {
      const int64_t concurrency = Draw(random, 1, 4);
      options.max_tokens = longest + spare;
      options.max_sequences = concurrency + Draw(random, 0, 1);
      options.max_step_rows = Draw(random, options.chunk, options.chunk * 3);
      SCOPED_TRACE(
          fmt::format("seed {}, chunk {}, {} positions, longest {}, concurrency {}, {} "
                      "sequences, {} rows",
                      seed, options.chunk, options.max_tokens, longest, concurrency,
                      options.max_sequences, options.max_step_rows));
      FoldTotals totals;
      ExpectSameResults(RunGroups(options, concurrency, groups, true, &totals), alone);
      saved += totals.shared_tokens;
    }
    options.max_sequences = 1;
    options.max_step_rows = 0;
    options.max_tokens = 2000;
  }
  EXPECT_GT(saved, 0);
}

TEST_F(SharingTest, ConcurrencyCountsRequestsAndNotPrefixes) {
  const auto document = RandomTokens(config_, 64, 3);
  LocalModelOptions options = Options();
  options.max_sequences = 5;
  RunLocalModel("random", options, [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 16, .concurrency = 2});
    for (int i = 0; i < 5; ++i) scheduler.Submit(Ask("x", document, 1, 3), {});
    EXPECT_TRUE(scheduler.Step());
    EXPECT_EQ(scheduler.waiting(), 3);
    while (scheduler.Step()) {
    }
  });
}

TEST_F(SharingTest, ForkOfAnythingElseIsABug) {
  LocalModelOptions options = Options();
  options.max_sequences = 3;
  const auto step = [&](LocalRank& rank, std::vector<PlannedFork> forks) {
    StepPlan plan;
    plan.forks = std::move(forks);
    rank.engine.Run(plan, {});
  };
  const auto fold = [&](LocalRank& rank) {
    StepPlan plan;
    plan.sequences = {{7, 0, 3, 0}};
    plan.embeddings.assign(static_cast<size_t>(3 * config_.hidden), 0.1f);
    rank.engine.Run(plan, {});
  };
  RunLocalModel("random", options, [&](LocalRank& rank) {
    fold(rank);
    step(rank, {{8, 7, 3}, {9, 8, 3}});                        // a fork of a fork
    EXPECT_THROW(step(rank, {{10, 1, 3}}), std::logic_error);  // no such parent
    EXPECT_THROW(step(rank, {{9, 7, 3}}), std::logic_error);   // the id is taken
    EXPECT_THROW(step(rank, {{10, 7, 2}}), std::logic_error);  // the parent is elsewhere
    EXPECT_TRUE(rank.engine.broken());
  });
}

}  // namespace
}  // namespace kvfold
