#include "runtime/jobs/document_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace kvfold {
namespace {

using testing::ElementsAre;

// `common` tokens that count up from `start`, then `own` of their own.
PromptTokens Tokens(TokenId start, size_t common, size_t own, TokenId own_token) {
  std::vector<TokenId> tokens(common);
  std::iota(tokens.begin(), tokens.end(), start);
  tokens.insert(tokens.end(), own, own_token);
  return tokens;
}

TEST(GroupByDocument, TakesRequestsOfOneDocumentTogether) {
  const auto a1 = Tokens(0, 100, 5, 1000), a2 = Tokens(0, 100, 9, 1001), a3 = Tokens(0, 100, 1, 9);
  const auto b1 = Tokens(500, 50, 5, 1000), b2 = Tokens(500, 50, 5, 1001);
  const auto alone = Tokens(0, 100, 5, 1002);
  const std::vector<DocumentPrompt> prompts = {{"a", &a1}, {"b", &b1}, {"", &alone},
                                               {"a", &a2}, {"b", &b2}, {"a", &a3}};
  const auto groups = GroupByDocument(prompts, 16);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_THAT(groups[0].members, ElementsAre(0, 3, 5));
  EXPECT_EQ(groups[0].shared_tokens, 96);
  EXPECT_THAT(groups[1].members, ElementsAre(1, 4));
  EXPECT_EQ(groups[1].shared_tokens, 48);
  EXPECT_THAT(groups[2].members, ElementsAre(2));
  EXPECT_EQ(groups[2].shared_tokens, 0);
}

TEST(GroupByDocument, NothingAndOne) {
  EXPECT_TRUE(GroupByDocument({}, 16).empty());
  const auto tokens = Tokens(0, 100, 5, 1000);
  const std::vector<DocumentPrompt> one = {{"a", &tokens}};
  const auto groups = GroupByDocument(one, 16);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].shared_tokens, 0);
}

TEST(GroupByDocument, LeavesATokenToEach) {
  const auto whole = Tokens(0, 64, 0, 0), longer = Tokens(0, 64, 1, 7);
  const std::vector<DocumentPrompt> prompts = {{"a", &whole}, {"a", &longer}, {"a", &whole}};
  EXPECT_EQ(GroupByDocument(prompts, 16)[0].shared_tokens, 48);
  EXPECT_EQ(GroupByDocument(prompts, 64).size(), 3u);
  EXPECT_EQ(GroupByDocument(prompts, 1)[0].shared_tokens, 63);
}

// The same document behind another beginning has other positions and another past.
TEST(GroupByDocument, KeepsOtherBeginningsApart) {
  const auto a1 = Tokens(0, 100, 5, 1000), a2 = Tokens(0, 100, 9, 1001);
  const auto b1 = Tokens(7, 100, 5, 1000), b2 = Tokens(7, 100, 5, 1001);
  const std::vector<DocumentPrompt> prompts = {{"a", &a1}, {"a", &b1}, {"a", &b2}, {"a", &a2}};
  const auto groups = GroupByDocument(prompts, 10);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_THAT(groups[0].members, ElementsAre(0, 3));
  EXPECT_THAT(groups[1].members, ElementsAre(1, 2));
}

// One request that shares but a little does not keep the others from sharing all.
TEST(GroupByDocument, StrangersDoNotSpoilIt) {
  const auto a1 = Tokens(0, 100, 5, 1000), a2 = Tokens(0, 100, 9, 1001);
  const auto half = Tokens(0, 50, 60, 1002), less = Tokens(0, 49, 60, 1003);
  std::vector<DocumentPrompt> prompts = {{"a", &a1}, {"a", &less}, {"a", &a2}};
  auto groups = GroupByDocument(prompts, 10);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_THAT(groups[0].members, ElementsAre(0, 2));
  EXPECT_EQ(groups[0].shared_tokens, 100);
  prompts[1].tokens = &half;
  groups = GroupByDocument(prompts, 10);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].shared_tokens, 50);
}

TEST(GroupByDocument, PromptsWithoutTokensStayAlone) {
  const PromptTokens none;
  const std::vector<DocumentPrompt> prompts = {{"a", &none}, {"a", &none}};
  EXPECT_EQ(GroupByDocument(prompts, 1).size(), 2u);
}

}  // namespace
}  // namespace kvfold
