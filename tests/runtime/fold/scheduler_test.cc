// Requests through the scheduler: when they end, in which order, what they are refused for, and
// what their callbacks see.
#include "runtime/fold/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Token 0 is special, 1 to 26 are "a" to "z" (or longer pieces: "abc" to "zab"), 27 and 28 the
// halves of "\u00e9".
class LetterTokenizer : public Tokenizer {
 public:
  explicit LetterTokenizer(int letters = 1) {
    for (int token = 0; token < 26; ++token) {
      bytes_.emplace_back();
      for (int i = 0; i < letters; ++i) bytes_.back() += static_cast<char>('a' + (token + i) % 26);
    }
    bytes_.insert(bytes_.begin(), "");
    bytes_.emplace_back("\xc3");
    bytes_.emplace_back("\xa9");
  }
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::string Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += bytes_.at(static_cast<size_t>(id));
    return text;
  }
  std::string_view TokenBytes(TokenId id, bool) const override {
    return bytes_.at(static_cast<size_t>(id));
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  TokenId TokenToId(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> bytes_;
};

struct Folded {
  int64_t chunk, n_chunks, tokens_done;
  bool operator==(const Folded&) const = default;
};

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() {
    SetWindows(config_, std::vector<int64_t>(config_.layers.size(), 0));
    config_.vocab_size = tokenizer_.vocab_size();
    checkpoint_ = std::make_unique<RandomCheckpoint>(config_, 6);
  }
  Request Prompt(int64_t n_tokens, int64_t max_new_tokens, uint64_t seed = 1) const {
    Request request;
    request.id = std::to_string(seed);
    request.tokens = RandomTokens(config_, n_tokens, seed);
    request.max_new_tokens = max_new_tokens;
    return request;
  }
  LocalModelOptions Options() const {
    return {.chunk = 8, .max_tokens = 100, .config = config_, .checkpoint = checkpoint_.get()};
  }
  void WithScheduler(const LocalModelOptions& options, std::vector<int64_t> eos_ids,
                     const std::function<void(Scheduler&, LocalRank&)>& body) const {
    RunLocalModel("random", options, [&](LocalRank& rank) {
      Scheduler scheduler(rank.engine, rank.embeddings,
                          {.chunk = options.chunk, .eos_ids = std::move(eos_ids)});
      body(scheduler, rank);
    });
  }
  // Runs one request alone. `pieces`: what the text callback got.
  Completion RunAlone(const Request& request, std::vector<int64_t> eos_ids = {},
                      std::vector<std::string>* pieces = nullptr) const {
    Completion completion;
    WithScheduler(Options(), std::move(eos_ids), [&](Scheduler& scheduler, LocalRank&) {
      Scheduler::Callbacks callbacks;
      callbacks.done = [&](const Completion& done) { completion = done; };
      if (pieces != nullptr)
        callbacks.text = [&](std::string_view piece) { pieces->emplace_back(piece); };
      scheduler.Submit({request, callbacks, ReplyMaker(&tokenizer_).Make(request.stop)});
      while (scheduler.Step()) {
      }
      EXPECT_FALSE(scheduler.Step());
    });
    return completion;
  }

  LetterTokenizer tokenizer_;
  // This model's greedy text is known to hold what the tests look for.
  ModelConfig config_ = RandomConfig(6, /*like_llama=*/true);
  std::unique_ptr<RandomCheckpoint> checkpoint_;
};

TEST_F(SchedulerTest, EndsAtMaxNewTokens) {
  for (const int64_t max_new_tokens : {1, 2, 20}) {
    const Completion completion = RunAlone(Prompt(9, max_new_tokens));
    EXPECT_EQ(completion.tokens.size(), static_cast<size_t>(max_new_tokens));
    EXPECT_EQ(completion.finish_reason, "length");
    EXPECT_EQ(completion.prompt_tokens, 9);
    EXPECT_EQ(completion.chunks, 2);
    EXPECT_GE(completion.fold_s, 0.0);
    EXPECT_GE(completion.decode_s, 0.0);
  }
}

TEST_F(SchedulerTest, EndsBeforeAnEndOfText) {
  const std::vector<TokenId> all = RunAlone(Prompt(9, 20)).tokens;
  const auto first = std::ranges::find(all, all[7]);
  const Completion completion = RunAlone(Prompt(9, 20), {27 + 1000, all[7]});
  EXPECT_EQ(completion.tokens, std::vector<TokenId>(all.begin(), first));
  EXPECT_EQ(completion.finish_reason, "stop");
  // The first token may already be one.
  const Completion empty = RunAlone(Prompt(9, 20), {all[0]});
  EXPECT_TRUE(empty.tokens.empty());
  EXPECT_EQ(empty.text, "");
  EXPECT_EQ(empty.finish_reason, "stop");
}

// A request may have ends of its own, which end no other.
TEST_F(SchedulerTest, EndsAtTheRequestsOwnEnds) {
  Request request = Prompt(9, 20);
  const std::vector<TokenId> all = RunAlone(request).tokens;
  const auto first = std::ranges::find(all, all[7]);
  request.end_ids = {27 + 1000, all[7]};
  const Completion completion = RunAlone(request);
  EXPECT_EQ(completion.tokens, std::vector<TokenId>(all.begin(), first));
  EXPECT_EQ(completion.finish_reason, "stop");
  EXPECT_EQ(RunAlone(Prompt(9, 20)).tokens, all);
}

// A prompt whose greedy text is letters long enough to stop within.
TEST_F(SchedulerTest, EndsBeforeAStopString) {
  Request request = Prompt(9, 30);
  request.sampling = {.temperature = 2.0, .seed = 3};
  const Completion whole = RunAlone(request);
  ASSERT_GT(whole.text.size(), 12u) << whole.text;
  const std::string stop = whole.text.substr(6, 3);
  const size_t at = whole.text.find(stop);
  request.stop = {"0123", stop};  // the first never comes
  std::vector<std::string> pieces;
  const Completion stopped = RunAlone(request, {}, &pieces);
  EXPECT_EQ(stopped.text, whole.text.substr(0, at));
  EXPECT_EQ(stopped.finish_reason, "stop");
  EXPECT_LT(stopped.tokens.size(), whole.tokens.size());
  EXPECT_TRUE(std::equal(stopped.tokens.begin(), stopped.tokens.end(), whole.tokens.begin()));
  EXPECT_TRUE(pieces.empty());  // text that a stop string may cut is never shown early

  request.stop = {"0123"};
  const Completion not_stopped = RunAlone(request);
  EXPECT_EQ(not_stopped.text, whole.text);
  EXPECT_EQ(not_stopped.finish_reason, "length");
}

// One token may hold several stop strings: the text ends before the one that comes first in it.
TEST_F(SchedulerTest, EndsBeforeTheFirstOfSeveralStopStrings) {
  tokenizer_ = LetterTokenizer(3);
  Request request = Prompt(9, 30);
  request.sampling = {.temperature = 2.0, .seed = 3};
  const Completion whole = RunAlone(request);
  size_t token = 0;  // one of letters, after others
  std::string before;
  while (token < 2 || tokenizer_.TokenBytes(whole.tokens.at(token), true).size() < 3)
    before += tokenizer_.TokenBytes(whole.tokens.at(token++), true);
  const std::string piece(tokenizer_.TokenBytes(whole.tokens[token], true));
  // Longer strings that end within the piece, so that nothing earlier is one.
  const std::string first = before.substr(before.size() - 2) + piece.substr(0, 1);
  const std::string second = before.substr(before.size() - 1) + piece;
  for (const auto& stop : {std::vector{first, second}, {second, first}}) {
    request.stop = stop;
    const Completion stopped = RunAlone(request);
    EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(first)));
    EXPECT_EQ(stopped.finish_reason, "stop");
  }
}

TEST_F(SchedulerTest, TextComesInWholeCharacters) {
  bool saw_held_back = false;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Request request = Prompt(5, 60);
    request.sampling = {.temperature = 5.0, .seed = seed};
    std::vector<std::string> pieces;
    const Completion completion = RunAlone(request, {}, &pieces);
    std::string joined;
    for (const std::string& piece : pieces) {
      joined += piece;
      EXPECT_FALSE(piece.empty());
      EXPECT_NE(piece.back(), '\xc3') << "half of a character";
    }
    EXPECT_EQ(joined, completion.text);
    saw_held_back |= completion.text.find("\u00e9") != std::string::npos;
  }
  EXPECT_TRUE(saw_held_back);
}

TEST_F(SchedulerTest, WithoutATokenizerThereIsNoText) {
  RunLocalModel("random", Options(), [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 8});
    Request request = Prompt(5, 4);
    request.stop = {"a"};
    Completion completion;
    scheduler.Submit(request, {.done = [&](const Completion& done) { completion = done; }});
    while (scheduler.Step()) {
    }
    EXPECT_EQ(completion.text, "");
    EXPECT_EQ(completion.tokens.size(), 4u);
  });
}

TEST_F(SchedulerTest, FoldedIsCalledAfterEveryChunk) {
  for (const auto& [n_tokens, want] : std::vector<std::pair<int64_t, std::vector<Folded>>>{
           {1, {{1, 1, 1}}},
           {8, {{1, 1, 8}}},
           {9, {{1, 2, 8}, {2, 2, 9}}},
           {24, {{1, 3, 8}, {2, 3, 16}, {3, 3, 24}}}}) {
    std::vector<Folded> got;
    WithScheduler(Options(), {}, [&](Scheduler& scheduler, LocalRank&) {
      Scheduler::Callbacks callbacks;
      callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens_done) {
        got.push_back({chunk, n_chunks, tokens_done});
      };
      scheduler.Submit(Prompt(n_tokens, 3), callbacks);
      while (scheduler.Step()) {
      }
    });
    EXPECT_EQ(got, want) << n_tokens;
  }
}

TEST_F(SchedulerTest, ImpossibleRequestsAreRefusedByName) {
  WithScheduler(Options(), {}, [&](Scheduler& scheduler, LocalRank&) {
    const auto refusal = [&](const Request& request) -> std::string {
      try {
        scheduler.Submit(request, {});
      } catch (const InputError& error) {
        return error.what();
      }
      return "not refused";
    };
    EXPECT_THAT(refusal(Prompt(0, 1)), HasSubstr("prompt is empty"));
    Request request = Prompt(5, 1);
    for (const TokenId outside : {-1, static_cast<TokenId>(config_.vocab_size)}) {
      request.tokens = {1, 2, outside, 4, 5};
      EXPECT_THAT(refusal(request), HasSubstr(fmt::format("token id {} is outside", outside)));
    }
    EXPECT_THAT(refusal(Prompt(5, 0)), HasSubstr("max_new_tokens is 0"));
    // The cache holds 100: the last new token is never fed back.
    EXPECT_EQ(Scheduler::CacheTokens(Prompt(90, 11)), 100);
    EXPECT_THAT(refusal(Prompt(90, 12)), HasSubstr("101 positions of the cache, which holds 100"));
    EXPECT_THAT(refusal(Prompt(101, 1)), HasSubstr("holds 100"));
    request = Prompt(5, 1);
    request.sampling.top_p = 0.0;
    EXPECT_THAT(refusal(request), HasSubstr("top_p"));
    EXPECT_EQ(scheduler.waiting(), 0);
    EXPECT_FALSE(scheduler.Step());
    EXPECT_EQ(refusal(Prompt(90, 11)), "not refused");  // fills it to the last position
    while (scheduler.Step()) {
    }
  });
}

TEST_F(SchedulerTest, StartsInOrderOfSubmissionAndWaitsForRoom) {
  LocalModelOptions options = Options();
  options.max_sequences = 3;
  WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
    std::vector<int> done;
    // 60 and 60 positions do not fit into 100 together; the small one behind must not overtake.
    int number = 0;
    for (const auto& [n_tokens, max_new_tokens] : {std::pair{50, 11}, {50, 11}, {4, 2}, {4, 2}}) {
      scheduler.Submit(Prompt(n_tokens, max_new_tokens),
                       {.done = [&done, number](const Completion&) { done.push_back(number); }});
      ++number;
    }
    EXPECT_EQ(scheduler.waiting(), 4);
    EXPECT_TRUE(scheduler.Step());
    EXPECT_EQ(scheduler.waiting(), 3);
    while (done.empty()) ASSERT_TRUE(scheduler.Step());
    EXPECT_THAT(done, ElementsAre(0));
    EXPECT_TRUE(scheduler.Step());
    EXPECT_EQ(scheduler.waiting(), 0);
    while (scheduler.Step()) {
    }
    EXPECT_THAT(done, ElementsAre(0, 2, 3, 1));  // the small ones end first, side by side
  });
}

// One at a time, three at a time, and three that share steps of few rows: the same completions.
TEST_F(SchedulerTest, ConcurrencyChangesNoCompletion) {
  constexpr size_t kRequests = 6;
  std::vector<std::array<Completion, kRequests>> runs;
  for (const int tp_size : {1, 3}) {
    runs.clear();
    for (const auto& [max_sequences, max_step_rows] :
         {std::pair<int64_t, int64_t>{1, 8}, {3, 24}, {3, 8}, {6, 9}}) {
      LocalModelOptions options = Options();
      options.tp_size = std::min(tp_size, static_cast<int>(config_.n_heads));
      options.max_sequences = max_sequences;
      options.max_step_rows = max_step_rows;
      options.max_tokens = 300;
      auto& completions = runs.emplace_back();
      WithScheduler(options, {5}, [&](Scheduler& scheduler, LocalRank&) {
        for (size_t i = 0; i < kRequests; ++i) {
          Request request =
              Prompt(std::array{3, 8, 30, 17, 1, 9}[i], 10 + static_cast<int64_t>(i), i);
          if (i % 2 == 0) request.sampling = {.temperature = 1.5, .top_k = 20, .seed = i};
          scheduler.Submit({request,
                            {.done = [&, i](const Completion& done) { completions[i] = done; }},
                            ReplyMaker(&tokenizer_).Make({})});
        }
        while (scheduler.Step()) {
        }
      });
    }
    for (size_t run = 1; run < runs.size(); ++run) {
      for (size_t i = 0; i < kRequests; ++i) {
        EXPECT_EQ(runs[run][i].tokens, runs[0][i].tokens) << "run " << run << ", request " << i;
        EXPECT_EQ(runs[run][i].text, runs[0][i].text);
        EXPECT_EQ(runs[run][i].finish_reason, runs[0][i].finish_reason);
        EXPECT_EQ(runs[run][i].chunks, runs[0][i].chunks);
        EXPECT_FALSE(runs[run][i].finish_reason.empty());
      }
    }
  }
}

// What a request draws is keyed by its id and seed, not by its place.
TEST_F(SchedulerTest, SeedAndIdChangeWhatIsDrawn) {
  Request request = Prompt(9, 25);
  request.sampling = {.temperature = 3.0, .seed = 1};
  const std::vector<TokenId> drawn = RunAlone(request).tokens;
  EXPECT_EQ(RunAlone(request).tokens, drawn);
  request.sampling.seed = 2;
  EXPECT_NE(RunAlone(request).tokens, drawn);
  request.sampling.seed = 1;
  request.id = "another";
  EXPECT_NE(RunAlone(request).tokens, drawn);
}

TEST_F(SchedulerTest, ChunkBeyondTheEnginesStepIsABug) {
  RunLocalModel("random", Options(), [&](LocalRank& rank) {
    for (const int64_t chunk : {0, 9})
      EXPECT_THROW(Scheduler(rank.engine, rank.embeddings, {.chunk = chunk}), std::logic_error);
  });
  LocalModelOptions narrow = Options();
  narrow.max_step_rows = 7;
  RunLocalModel("random", narrow, [&](LocalRank& rank) {
    EXPECT_THROW(Scheduler(rank.engine, rank.embeddings, {.chunk = 8}), std::logic_error);
  });
}

// Requests with a token whose embedding is NaN, before, beside and after others whose blocks of the
// cache and rows of the workspace they have had: those have what they have alone.
class NotNumbersTest : public SchedulerTest {
 protected:
  static constexpr TokenId kBad = 7;

  NotNumbersTest() {
    config_.tie_embeddings = false;
    checkpoint_ = std::make_unique<RandomCheckpoint>(config_, 6);
    bad_ = std::make_unique<ConstantTensors>(*checkpoint_, "embed_tokens.weight",
                                             std::numeric_limits<float>::quiet_NaN(), kBad);
  }
  // Good ones never see the bad token.
  Request Ask(size_t i, bool good) const {
    Request request = Prompt(good ? 9 + 7 * static_cast<int64_t>(i % 3) : 20, 6, i + 1);
    std::vector<TokenId> tokens = request.tokens.Slice(0, request.tokens.size());
    std::ranges::replace(tokens, kBad, kBad + 1);
    if (!good) tokens[17] = kBad;
    request.tokens = std::move(tokens);
    if (i % 2 == 1) request.sampling = {.temperature = 0.8, .seed = i};
    return request;
  }

  std::unique_ptr<ConstantTensors> bad_;
};

TEST_F(NotNumbersTest, ARequestWhoseLogitsAreNoNumbersFailsAlone) {
  const std::vector<bool> good = {true, false, true, false, false, true, true};
  for (const int tp_size : {1, 2, 3}) {
    for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      for (const int64_t max_sequences : {1, 2, 3}) {
        SCOPED_TRACE(fmt::format("tp_size {}, cache {}, {} sequences", tp_size, DTypeName(kv_dtype),
                                 max_sequences));
        LocalModelOptions options = Options();
        options.tp_size = std::min(tp_size, static_cast<int>(config_.n_heads));
        options.kv_dtype = kv_dtype;
        options.max_sequences = max_sequences;
        options.checkpoint = bad_.get();
        std::vector<std::vector<TokenId>> tokens(good.size());
        std::vector<std::string> errors(good.size());
        WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
          for (size_t i = 0; i < good.size(); ++i) {
            Scheduler::Callbacks callbacks;
            callbacks.done = [&, i](const Completion& done) { tokens[i] = done.tokens; };
            callbacks.failed = [&, i](const Error& error) { errors[i] = error.what(); };
            scheduler.Submit(Ask(i, good[i]), callbacks);
          }
          while (scheduler.Step()) {
          }
        });
        for (size_t i = 0; i < good.size(); ++i) {
          if (!good[i]) {
            EXPECT_THAT(errors[i], HasSubstr("the logits at position 19 are not finite"));
            EXPECT_TRUE(tokens[i].empty());
            continue;
          }
          EXPECT_EQ(errors[i], "") << "request " << i;
          std::vector<TokenId> alone;
          options.max_sequences = 1;
          WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
            scheduler.Submit(Ask(i, true),
                             {.done = [&](const Completion& done) { alone = done.tokens; }});
            while (scheduler.Step()) {
            }
          });
          EXPECT_EQ(tokens[i], alone) << "request " << i;
        }
      }
    }
  }
}

// A NaN in one rank's share of the vocabulary alone, and what is infinite.
TEST_F(NotNumbersTest, OneRowOfTheHeadIsEnough) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int tp_size : {1, 2, 3}) {
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), infinity}) {
      for (const int64_t row : {int64_t{0}, config_.vocab_size - 1}) {
        for (const double temperature : {0.0, 1.0}) {
          const ConstantTensors head(*checkpoint_, "lm_head.weight", odd, row);
          LocalModelOptions options = Options();
          options.tp_size = std::min(tp_size, static_cast<int>(config_.n_heads));
          options.checkpoint = &head;
          WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank& rank) {
            Request request = Ask(0, true);
            request.sampling.temperature = temperature;
            scheduler.Submit(request, {});
            const auto run = [&] {
              while (scheduler.Step()) {
              }
            };
            EXPECT_THROW(run(), Error) << tp_size << " ranks, " << odd << " in row " << row;
            EXPECT_FALSE(rank.engine.broken());
          });
        }
      }
    }
  }
}

// Those that share a prefix that holds the bad token all fail, and the room is given back.
TEST_F(NotNumbersTest, ASharedPrefixFailsItsRequestsAlone) {
  LocalModelOptions options = Options();
  options.max_sequences = 3;
  options.max_tokens = 90;
  options.checkpoint = bad_.get();
  int n_failed = 0;
  std::vector<TokenId> tokens, alone;
  WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
    std::vector<Scheduler::Submission> together;
    for (size_t i = 0; i < 3; ++i) {
      Request request = Ask(0, false);
      request.id = std::to_string(i);
      std::vector<TokenId> prompt = request.tokens.Slice(0, request.tokens.size());
      prompt[2] = kBad;
      request.tokens = std::move(prompt);
      together.push_back({request, {.failed = [&](const Error&) { ++n_failed; }}});
    }
    EXPECT_GT(scheduler.SubmitTogether(std::move(together)), 0);
    scheduler.Submit(Ask(2, true), {.done = [&](const Completion& done) { tokens = done.tokens; }});
    while (scheduler.Step()) {
    }
  });
  EXPECT_EQ(n_failed, 3);
  WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
    scheduler.Submit(Ask(2, true), {.done = [&](const Completion& done) { alone = done.tokens; }});
    while (scheduler.Step()) {
    }
  });
  EXPECT_FALSE(alone.empty());
  EXPECT_EQ(tokens, alone);
}

// Where all are greedy no row of logits is gathered; beside one that wants its rows all of them
// are.
TEST_F(SchedulerTest, GreedyTokensAreThoseOfGatheredLogits) {
  for (const int tp_size : {1, 2}) {  // the vocabulary of 29 is all on the first rank
    LocalModelOptions options = Options();
    options.tp_size = tp_size;
    options.max_sequences = 2;
    const auto tokens_of = [&](bool gathered) {
      std::vector<std::vector<TokenId>> tokens(2);
      WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank&) {
        for (size_t i = 0; i < tokens.size(); ++i) {
          Scheduler::Callbacks callbacks;
          callbacks.done = [&tokens, i](const Completion& done) { tokens[i] = done.tokens; };
          if (gathered && i == 0) {
            callbacks.logits = [&](std::span<const float> row) {
              EXPECT_EQ(static_cast<int64_t>(row.size()), config_.vocab_size);
            };
          }
          scheduler.Submit(Prompt(9, 20, i + 1), callbacks);
        }
        while (scheduler.Step()) {
        }
      });
      return tokens;
    };
    EXPECT_EQ(tokens_of(false), tokens_of(true)) << "tp_size " << tp_size;
  }
}

// A callback's exception reaches the caller when the step is over on all ranks: the group is whole.
TEST_F(SchedulerTest, CallbackThatThrowsLeavesTheRanksInStep) {
  LocalModelOptions options = Options();
  options.tp_size = 2;
  ASSERT_GE(config_.n_heads, 2);
  WithScheduler(options, {}, [&](Scheduler& scheduler, LocalRank& rank) {
    Scheduler::Callbacks callbacks;
    callbacks.text = [](std::string_view) { throw IoError("standard output is closed"); };
    scheduler.Submit({Prompt(5, 60), callbacks, ReplyMaker(&tokenizer_).Make({})});
    const auto run = [&] {
      while (scheduler.Step()) {
      }
    };
    EXPECT_THROW(run(), IoError);
    EXPECT_FALSE(rank.engine.broken());
    StepPlan plan;  // the other rank still follows
    EXPECT_TRUE(rank.engine.Run(plan, {}).statistics.empty());
  });
}

}  // namespace
}  // namespace kvfold
