// The parts of a tokenizer, each alone: UTF-8, regular expressions, pre-tokenizers, merges, added
// tokens, NFC.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "comm/error.h"
#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/byte_level_bpe.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/regex_translation.h"
#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string Lossy(std::string_view bytes) {
  std::string out;
  AppendLossyUtf8(out, bytes);
  return out;
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  const auto npos = std::string_view::npos;
  EXPECT_EQ(FindInvalidUtf8(""), npos);
  EXPECT_EQ(FindInvalidUtf8(
                "a\xC2\x80\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
            npos);
  EXPECT_EQ(FindInvalidUtf8("abcdefgh\x80"), 8u);
  EXPECT_EQ(FindInvalidUtf8("\xC0\x80"), 0u);          // overlong
  EXPECT_EQ(FindInvalidUtf8("ab\xE0\x9F\xBF"), 2u);    // overlong
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0u);      // a surrogate
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(FindInvalidUtf8("a\xE2\x82"), 1u);         // cut off
  EXPECT_EQ(FindInvalidUtf8("\xC3("), 0u);
}

// Rows of the Unicode Standard's tables 3-8 to 3-11; R is U+FFFD.
TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(Lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(Lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(Lossy("a\xE2\x82"), "a" + r);
}

TEST(Utf8, HoldsBackOnlyWhatMoreBytesCouldComplete) {
  EXPECT_EQ(UnfinishedUtf8Bytes(""), 0u);
  EXPECT_EQ(UnfinishedUtf8Bytes("a"), 0u);
  EXPECT_EQ(UnfinishedUtf8Bytes("a\xC3"), 1u);
  EXPECT_EQ(UnfinishedUtf8Bytes("\xC3\xA9"), 0u);
  EXPECT_EQ(UnfinishedUtf8Bytes("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(UnfinishedUtf8Bytes("\xF0\x9F\x98\x80"), 0u);
  EXPECT_EQ(UnfinishedUtf8Bytes("\xE0\x80"), 0u);  // no continuation makes this whole
  EXPECT_EQ(UnfinishedUtf8Bytes("\xC1"), 0u);
  EXPECT_EQ(UnfinishedUtf8Bytes("\x80\x80\x80"), 0u);
}

TEST(ByteAlphabet, StandsForEveryByte) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    AppendUtf8(token, ByteAlphabetCharacter(static_cast<uint8_t>(byte)));
    EXPECT_EQ(BytesOfToken(token), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(BytesOfToken("Ġthe"), " the");
  EXPECT_EQ(BytesOfToken("a b"), std::nullopt);
  EXPECT_EQ(BytesOfToken("a\u0144"), std::nullopt);
}

std::vector<std::string> Words(const PreTokenizer& pre_tokenizer, std::string_view text) {
  PreTokenizer::Walker walker(pre_tokenizer);
  std::vector<std::string> words;
  walker.Walk(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

std::vector<std::string> SplitWords(std::string_view regex, SplitBehavior behavior,
                                    std::string_view text, bool invert = false) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(
      PreTokenizer::Split{SplitRegex(TranslateRegex(regex, "test"), "test"), behavior, invert});
  return Words(pre_tokenizer, text);
}

// The table in Hugging Face tokenizers' documentation of SplitDelimiterBehavior.
TEST(PreTokenizer, TreatsDelimitersAsToldTo) {
  const std::string_view text = "The-final--countdown";
  using enum SplitBehavior;
  EXPECT_THAT(SplitWords("-", kRemoved, text), ElementsAre("The", "final", "countdown"));
  EXPECT_THAT(SplitWords("-", kIsolated, text),
              ElementsAre("The", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(SplitWords("-", kMergedWithPrevious, text),
              ElementsAre("The-", "final-", "-", "countdown"));
  EXPECT_THAT(SplitWords("-", kMergedWithNext, text),
              ElementsAre("The", "-final", "-", "-countdown"));
  EXPECT_THAT(SplitWords("-", kContiguous, text),
              ElementsAre("The", "-", "final", "--", "countdown"));
  EXPECT_THAT(SplitWords("\\p{L}+", kRemoved, text, true),
              ElementsAre("The", "final", "countdown"));
  EXPECT_THAT(SplitWords("-", kMergedWithNext, "-a-"), ElementsAre("-a", "-"));
  EXPECT_THAT(SplitWords("-", kMergedWithPrevious, "-a-"), ElementsAre("-", "a-"));
  EXPECT_THAT(SplitWords("x*", kIsolated, "axxb"), ElementsAre("a", "xx", "b"));  // empty matches
  EXPECT_THAT(SplitWords("-", kIsolated, ""), ElementsAre());
}

TEST(PreTokenizer, StepsWorkOnThePiecesOfTheStepBefore) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(PreTokenizer::Digits{true});
  pre_tokenizer.AddPrefixSpace();
  pre_tokenizer.Add(PreTokenizer::Split{SplitRegex(TranslateRegex(kGpt2Regex, "t"), "t"),
                                        SplitBehavior::kIsolated, false});
  EXPECT_THAT(Words(pre_tokenizer, "a  12b "), ElementsAre(" a", "  ", " 1", " 2", " b", " "));
  PreTokenizer runs;
  runs.Add(PreTokenizer::Digits{false});
  EXPECT_THAT(Words(runs, "12ab3\u0664\u2162c"), ElementsAre("12", "ab", "3\u0664\u2162", "c"));
}

TEST(RegexTranslation, KnowsOnigurumasWhiteSpaceAndUnicode) {
  using enum SplitBehavior;
  // U+180E is no white space in Oniguruma, U+0085 is.
  EXPECT_THAT(SplitWords("\\s+", kRemoved, "a\u180Eb\u0085c\u3000d"),
              ElementsAre("a\u180Eb", "c", "d"));
  EXPECT_THAT(SplitWords("\\S+", kRemoved, "a\u180Eb \u2003c"), ElementsAre(" \u2003"));
  EXPECT_THAT(SplitWords("[\\S]+", kRemoved, "a\u180Eb \u2003c"), ElementsAre(" \u2003"));
  // Letters and digits of Unicode 15.0, 15.1 and 16.0.
  for (const char* young : {"\U00031350", "\U0002EBF0", "\U00010D50", "\U00016D40"}) {
    EXPECT_THAT(SplitWords("\\p{L}+", kIsolated, fmt::format("x{}.", young)),
                ElementsAre(fmt::format("x{}", young), "."));
    EXPECT_THAT(SplitWords("[^\\p{L}]+", kIsolated, young), ElementsAre(young));
    EXPECT_THAT(SplitWords("\\P{L}+", kRemoved, young), ElementsAre(young));
  }
  EXPECT_THAT(SplitWords("\\p{N}", kRemoved, "a\U00016D70b"), ElementsAre("a", "b"));
  EXPECT_THAT(SplitWords("(?i:'s)", kRemoved, "a'Sb's'\u017Fc"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(SplitWords(".", kRemoved, "a\r\n\u0085"), ElementsAre("\n"));
  EXPECT_THAT(SplitWords("[^\\]\\-a-c]", kRemoved, "a-]d^"), ElementsAre("a-]"));
  EXPECT_THAT(SplitWords("a{2,3}", kRemoved, "aaaaa!"), ElementsAre("!"));
}

TEST(RegexTranslation, RefusesByNameWhatMayMeanSomethingElse) {
  const auto refuses = [](std::string_view regex, std::string_view what) {
    EXPECT_THAT([&] { TranslateRegex(regex, "file: field"); },
                ThrowsMessage<InputError>(testing::AllOf(HasSubstr(std::string(what)),
                                                         testing::StartsWith("file: field: "))))
        << regex;
  };
  refuses("a$", "a line anchor at offset 1");
  refuses("^a", "a line anchor at offset 0");
  refuses("a\\b", "\\\\b");
  refuses("\\w+", "\\\\w");
  refuses("[[:alpha:]]", "'[' inside a class at offset 1");
  refuses("[a&&b]", "'&&'");
  refuses("\\p{Han}", "the property \"Han\"");
  refuses("\\p{Mn}", "the property \"Mn\"");
  refuses("[\\P{L}]", "a negated property inside a class");
  refuses("(?m:a)", "the group \"(?m:\"");
  refuses("(?i)a", "the group \"(?i)\"");
  refuses("(?<n>a)", "the group \"(?<n\"");
  refuses("(?i:ss)", "\"ss\" inside (?i:");
  refuses("(?i:\u00e9)", "beyond ASCII");
  refuses("(?i:\\p{Lu})", "\\p{Lu} inside (?i:");
  refuses("a{,3}", "'{'");
  refuses("a{1,2}+", "a suffix to {n,m}");
  refuses("a**", "a quantifier");
  refuses("*a", "a quantifier");
  refuses("\\x80", "\\x");
  refuses("\\1", "\\\\1");
  refuses("a\\", "a backslash at its end");
  refuses("[a", "a class that does not end");
  refuses("[]", "class");
  refuses("[z-a]", "'-'");
  refuses("[\\s-z]", "'-'");
  refuses("\\pL", "\\p without {name}");
  refuses(std::string(300, '('), "deeper than 200");
}

TEST(SplitRegex, RefusesWhatDoesNotCompile) {
  for (const char* regex : {"(a", "a)", "(?<=a+)b", "a{9,1}"}) {
    EXPECT_THAT([&] { SplitRegex(TranslateRegex(regex, "where"), "where"); },
                ThrowsMessage<InputError>(HasSubstr("where: the regular expression")))
        << regex;
  }
}

TEST(SplitRegex, GivesUpOnEndlessBacktracking) {
  EXPECT_THAT([] { SplitWords("(a+)+[bc]", SplitBehavior::kIsolated, std::string(60, 'a')); },
              ThrowsMessage<InputError>(HasSubstr("cannot be matched from byte 0")));
}

TEST(SplitRegex, MatchesLongRunsWithoutGivingUp) {
  const std::string spaces(3 << 20, ' ');
  EXPECT_THAT(SplitWords("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", SplitBehavior::kIsolated, spaces + "x"),
              ElementsAre(spaces.substr(1), " ", "x"));
}

// The textbook loop, quadratic: join the leftmost pair of least rank until none is left.
std::vector<TokenId> SlowBpe(
    std::string_view word,
    const std::map<std::pair<TokenId, TokenId>, std::pair<int, TokenId>>& merges) {
  std::vector<TokenId> ids;
  for (const char c : word) ids.push_back(static_cast<uint8_t>(c) - 'a');
  while (true) {
    int best_rank = INT32_MAX;
    size_t best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto merge = merges.find({ids[i], ids[i + 1]});
      if (merge == merges.end() || merge->second.first >= best_rank) continue;
      best_rank = merge->second.first;
      best = i;
    }
    if (best_rank == INT32_MAX) return ids;
    ids[best] = merges.at({ids[best], ids[best + 1]}).second;
    ids.erase(ids.begin() + static_cast<int64_t>(best) + 1);
  }
}

TEST(ByteLevelBpe, EqualsTheTextbookLoop) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::string> texts = {"a", "b", "c"};
    std::vector<BpeMerge> list;
    std::map<std::pair<TokenId, TokenId>, std::pair<int, TokenId>> merges;
    while (texts.size() < 40) {
      const auto left = static_cast<TokenId>(random() % texts.size());
      const auto right = static_cast<TokenId>(random() % texts.size());
      const std::string text = texts[left] + texts[right];
      if (std::find(texts.begin(), texts.end(), text) != texts.end()) continue;
      const auto merged = static_cast<TokenId>(texts.size());
      merges[{left, right}] = {static_cast<int>(list.size()), merged};
      list.push_back({left, right, merged});
      texts.push_back(text);
    }
    std::vector<ByteLevelBpe::Token> tokens;
    for (size_t i = 0; i < texts.size(); ++i) tokens.push_back({static_cast<TokenId>(i), texts[i]});
    const ByteLevelBpe bpe(tokens, list, {});
    ByteLevelBpe::Scratch scratch;
    for (int length = 0; length < 60; ++length) {
      std::string word;
      for (int i = 0; i < length; ++i) word += static_cast<char>('a' + random() % 3);
      std::vector<TokenId> ids;
      bpe.Encode(word, scratch, ids);
      ASSERT_EQ(ids, SlowBpe(word, merges)) << "seed " << seed << " word " << word;
    }
  }
}

TEST(ByteLevelBpe, DropsFusesOrKeepsBytesWithoutAToken) {
  const std::vector<ByteLevelBpe::Token> tokens = {{0, "?"}, {1, "a"}, {2, "aa"}};
  const std::vector<BpeMerge> merges = {{1, 1, 2}};
  const auto encode = [&](BpeOptions options, std::string_view word) {
    ByteLevelBpe::Scratch scratch;
    std::vector<TokenId> ids;
    ByteLevelBpe(tokens, merges, options).Encode(word, scratch, ids);
    return ids;
  };
  EXPECT_THAT(encode({}, "axxa"), ElementsAre(2));  // dropped first, merged then
  EXPECT_THAT(encode({false, 0, false}, "axxa"), ElementsAre(1, 0, 0, 1));
  EXPECT_THAT(encode({false, 0, true}, "xxaxx"), ElementsAre(0, 1, 0));
  EXPECT_THAT(encode({}, "xx"), ElementsAre());
  EXPECT_THAT(encode({}, ""), ElementsAre());
}

TEST(AddedTokenFinder, TakesTheLeftmostThenTheLongest) {
  const AddedTokenFinder finder({{1, "ab", false, false, false, false, false},
                                 {2, "abcd", false, false, false, false, false},
                                 {3, "bcde", false, false, false, false, false},
                                 {4, "w", false, true, false, false, false},
                                 {5, "<l>", false, false, true, false, false},
                                 {6, "<r>", false, false, false, true, false}});
  const auto split = [&](std::string_view text) {
    std::vector<std::string> parts;
    finder.Split(
        text, [&](std::string_view part) { parts.emplace_back(part); },
        [&](TokenId id) { parts.push_back(fmt::format("#{}", id)); });
    return parts;
  };
  EXPECT_THAT(split(""), ElementsAre());
  EXPECT_THAT(split("xabce"), ElementsAre("x", "#1", "ce"));
  EXPECT_THAT(split("abcde"), ElementsAre("#2", "e"));
  EXPECT_THAT(split("bcdeab"), ElementsAre("#3", "#1"));
  EXPECT_THAT(split("w ww \u00e9w w"), ElementsAre("#4", " ww \u00e9w ", "#4"));
  EXPECT_THAT(split("x \u3000<l> y <r> \n z"), ElementsAre("x", "#5", " y ", "#6", "z"));
  EXPECT_THAT(split("<r>  <l>"), ElementsAre("#6", "#5"));
  const AddedTokenFinder spaces(
      {{1, " ", false, false, false, true, false}, {2, "\n\n", false, false, true, false, false}});
  std::vector<TokenId> ids;
  spaces.Split(
      "a \n\nb", [](std::string_view) {}, [&](TokenId id) { ids.push_back(id); });
  EXPECT_THAT(ids, ElementsAre(1));  // the second was stripped away by the first
}

TEST(Normalizer, ComposesAsHuggingFaceDoes) {
  std::string storage;
  EXPECT_EQ(NormalizeNfc("plain", storage), "plain");
  EXPECT_EQ(NormalizeNfc("e\u0301", storage), "\u00e9");
  EXPECT_EQ(NormalizeNfc("\u1112\u1161\u11ab", storage), "\ud55c");
  EXPECT_EQ(NormalizeNfc("q\u0307\u0323", storage), "q\u0323\u0307");
  EXPECT_EQ(NormalizeNfc("\u212b\ufb01", storage), "\u00c5\ufb01");
  // U+1DF6 (Unicode 10.0, class 232) stays behind U+0301 (230), and before it, because Unicode 9.0
  // did not know it.
  EXPECT_EQ(NormalizeNfc("q\u1DF6\u0301", storage), "q\u1DF6\u0301");
}

}  // namespace
}  // namespace kvfold
