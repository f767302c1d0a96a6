#include "runtime/fold/prompt_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/fold/shared_prefix.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

std::vector<TokenId> Random(size_t n_tokens, unsigned seed, TokenId vocab_size = 1000) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(n_tokens);
  for (TokenId& token : tokens)
    token = static_cast<TokenId>(random() % static_cast<unsigned>(vocab_size));
  return tokens;
}

std::vector<TokenId> Joined(std::initializer_list<std::vector<TokenId>> parts) {
  std::vector<TokenId> tokens;
  for (const auto& part : parts) tokens.insert(tokens.end(), part.begin(), part.end());
  return tokens;
}

PromptTokens::Whole WholeOf(std::vector<TokenId> tokens) {
  return std::make_shared<const std::vector<TokenId>>(std::move(tokens));
}

void ExpectSame(const PromptTokens& prompt, const std::vector<TokenId>& want) {
  ASSERT_EQ(prompt.size(), want.size());
  EXPECT_EQ(prompt.Slice(0, want.size()), want);
  for (const size_t at : {size_t{0}, want.size() / 3, want.size() - 1})
    EXPECT_EQ(prompt[at], want[at]) << at;
  for (const auto& [begin, end] : {std::pair{want.size() / 4, want.size() / 2},
                                   {size_t{1}, want.size() - 1},
                                   {want.size(), want.size()}}) {
    EXPECT_THAT(prompt.Slice(begin, end),
                ElementsAreArray(want.begin() + static_cast<int64_t>(begin),
                                 want.begin() + static_cast<int64_t>(end)));
  }
}

TEST(PromptTokens, AllItsOwn) {
  const PromptTokens none;
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.RowAt(0).empty());
  EXPECT_TRUE(none.Slice(0, 0).empty());
  const PromptTokens three = {5, 6, 7};
  EXPECT_EQ(three.size(), 3u);
  EXPECT_EQ(three.own_size(), 3u);
  EXPECT_THAT(three.Slice(1, 3), ElementsAre(6, 7));
  EXPECT_THAT(three.RowAt(2), ElementsAre(7));
}

TEST(PromptTokens, QuestionsBehindOneDocumentHoldTheirOwnAlone) {
  const auto document = Random(50'000, 1);
  const auto whole = WholeOf(Joined({document, Random(9, 2)}));
  const auto tokens = Joined({document, Random(30, 3)});
  const PromptTokens prompt = PromptTokens::Sharing(tokens, whole);
  ExpectSame(prompt, tokens);
  EXPECT_LE(prompt.own_size(), 30u);
  const PromptTokens first = PromptTokens::Sharing(*whole, whole);
  ExpectSame(first, *whole);
  EXPECT_EQ(first.own_size(), 0u);
  EXPECT_EQ(first.CommonWith(prompt), CommonTokens(*whole, tokens));
}

// Another system message before the document moves it; a letter of the question before may have
// changed how the first of its tokens were cut.
TEST(PromptTokens, OtherBeginningsHoldTheirOwnAlone) {
  const auto document = Random(50'000, 1);
  const auto whole = WholeOf(Joined({Random(40, 4), document, Random(9, 2)}));
  for (const size_t n_before : {0u, 7u, 40u, 3000u}) {
    auto moved = document;
    moved[0] = moved[1] = 1001;
    const auto tokens = Joined({Random(n_before, 5), moved, Random(30, 6)});
    const PromptTokens prompt = PromptTokens::Sharing(tokens, whole);
    ExpectSame(prompt, tokens);
    EXPECT_LE(prompt.own_size(), n_before + 32) << n_before;
  }
}

TEST(PromptTokens, RepeatsAreSharedToo) {
  auto document = Random(7, 1);
  while (document.size() < 60'000)
    document.insert(document.end(), document.begin(), document.end());
  const auto whole = WholeOf(Joined({Random(40, 4), document, Random(9, 2)}));
  const auto tokens = Joined({Random(55, 5), document, Random(30, 6)});
  const PromptTokens prompt = PromptTokens::Sharing(tokens, whole);
  ExpectSame(prompt, tokens);
  EXPECT_LT(prompt.own_size(), tokens.size() / 20);
}

TEST(PromptTokens, StrangersKeepNothingAlive) {
  const auto whole = WholeOf(Random(5000, 1));
  for (const auto& tokens : {Random(5000, 2), Random(10, 1), Random(1023, 1)}) {
    const PromptTokens prompt = PromptTokens::Sharing(tokens, whole);
    ExpectSame(prompt, tokens);
    EXPECT_EQ(prompt.own_size(), tokens.size());
  }
  EXPECT_EQ(whole.use_count(), 1);
  EXPECT_TRUE(PromptTokens::Sharing({}, whole).empty());
}

// Small vocabularies, short documents, all kinds of overlap: whatever is shared, the ids are right.
TEST(PromptTokens, AnyOverlapGivesTheSameIds) {
  std::mt19937 random(7);
  for (unsigned round = 0; round < 200; ++round) {
    const auto whole =
        WholeOf(Random(1 + random() % 6000, round, 2 + static_cast<TokenId>(round % 3)));
    const size_t begin = random() % whole->size();
    const size_t end = begin + random() % (whole->size() - begin + 1);
    const auto tokens = Joined(
        {Random(random() % 1500, round + 1, 3),
         {whole->begin() + static_cast<int64_t>(begin), whole->begin() + static_cast<int64_t>(end)},
         Random(1 + random() % 1500, round + 2, 3)});
    const PromptTokens prompt = PromptTokens::Sharing(tokens, whole);
    ASSERT_EQ(prompt.Slice(0, tokens.size()), tokens) << round;
    EXPECT_EQ(prompt.CommonWith(PromptTokens::Sharing(*whole, whole)),
              CommonTokens(tokens, *whole));
  }
}

}  // namespace
}  // namespace kvfold
