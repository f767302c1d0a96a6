// Files made to crash, to hang or to take all memory: what once did, and its like. Each is refused
// by a sentence, or read, in time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "models/chat_template.h"
#include "models/checkpoint/checkpoint.h"
#include "models/checkpoint/mapped_file.h"
#include "models/checkpoint/mapping_faults.h"
#include "models/model_config.h"
#include "models/quoted.h"
#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/split_regex.h"
#include "models/tokenizer/tokenizer.h"
#include "models/tokenizer/utf8.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Quoted, EscapesWhatMovesHidesOrIsNoText) {
  EXPECT_EQ(Quoted(""), R"("")");
  EXPECT_EQ(Quoted("a\n\r\t\"\\"), R"("a\n\r\t\"\\")");
  EXPECT_EQ(Quoted(std::string_view("\0\x1b\x7f", 3)), R"("\u{0}\u{1b}\u{7f}")");
  EXPECT_EQ(Quoted("\u00e4\u4e16\U0001F600"), "\"\u00e4\u4e16\U0001F600\"");
  EXPECT_EQ(Quoted("\u0085\u200b\u202e\ufeff"), R"("\u{85}\u{200b}\u{202e}\u{feff}")");
  EXPECT_EQ(Quoted("\xff\xe4z\xf0\x9f"), R"("\x{ff}\x{e4}z\x{f0}\x{9f}")");
}

TEST(Quoted, CutsBetweenCharacters) {
  EXPECT_EQ(Quoted(std::string(80, 'x')), "\"" + std::string(80, 'x') + "\"");
  EXPECT_EQ(Quoted(std::string(81, 'x')), "\"" + std::string(80, 'x') + "\"...");
  EXPECT_EQ(Quoted(std::string(79, 'x') + "\u4e16"), "\"" + std::string(79, 'x') + "\"...");
  std::string stray;  // bytes that belong to no character are cut anywhere
  for (int i = 0; i < 80; ++i) stray += "\\x{80}";
  EXPECT_EQ(Quoted(std::string(100, '\x80')), "\"" + stray + "\"...");
}

// fmt's {:?} takes a negative length of some of these.
TEST(Quoted, AnyBytesBecomeTextOfOneLine) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      for (const char* const end : {"", "\x9f", "z"}) {
        const std::string text = {static_cast<char>(a), static_cast<char>(b)};
        const std::string quoted = Quoted(text + end);
        ASSERT_EQ(FindInvalidUtf8(quoted), std::string_view::npos) << a << " " << b;
        ASSERT_EQ(quoted.find_first_of("\n\r\x1b"), std::string::npos) << a << " " << b;
      }
    }
  }
}

TEST(HostileGguf, TensorUnderBothNamesIsRefused) {
  const TempFolder folder;
  GgufWriter writer;
  writer.String("general.architecture", "qwen2");
  writer.Float32Tensor("output_norm.weight", {1}, {1});
  writer.Float32Tensor("model.norm.weight", {1}, {2});
  const auto path = folder.Write("m.gguf", writer.Bytes());
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(path); }),
              AllOf(HasSubstr("m.gguf"), HasSubstr("tensor \"model.norm.weight\" is there by")));
}

TEST(HostileGguf, KeyThatIsNoTextIsNamed) {
  const TempFolder folder;
  GgufWriter writer;
  writer.Raw("\xff\xe4z\xf0\x9f", /*type=*/77, "");
  const auto path = folder.Write("m.gguf", writer.Bytes());
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(path); }),
              AllOf(HasSubstr("m.gguf"), HasSubstr(R"(key "\x{ff}\x{e4}z\x{f0}\x{9f}")")));
}

GgufWriter SmallLlama() {
  GgufWriter writer;
  writer.String("general.architecture", "llama");
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length",
                          "attention.head_count", "context_length", "vocab_size"}) {
    writer.Uint32(std::string("llama.") + key, key == std::string("embedding_length") ? 4 : 1);
  }
  writer.Float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return writer;
}

TEST(HostileGguf, RopeFactorsOfNoElementsAreMissed) {
  const TempFolder folder;
  EXPECT_EQ(ReadModelConfig(folder.Write("m.gguf", SmallLlama().Bytes())).head_dim, 4);
  GgufWriter writer = SmallLlama();
  writer.Float32Tensor("rope_freqs.weight", {0}, {});
  const auto path = folder.Write("m.gguf", writer.Bytes());
  EXPECT_THAT(
      ErrorOf([&] { ReadModelConfig(path); }),
      AllOf(HasSubstr("m.gguf"), HasSubstr("rope_freqs.weight has 0 elements, expected 2")));
}

// A plan over thousands of heads takes minutes; no model has as many.
TEST(HostileConfig, TooManyHeadsAreRefused) {
  const TempFolder folder;
  const auto config = [&](int64_t n_heads) {
    return folder.Write("config.json", fmt::format(R"({{"model_type":"llama","hidden_size":{},
        "num_hidden_layers":1,"num_attention_heads":{},"intermediate_size":8,"vocab_size":8}})",
                                                   2 * n_heads, n_heads));
  };
  EXPECT_EQ(ErrorOf([&] { ReadModelConfig(config(1024)); }), "");
  EXPECT_THAT(ErrorOf([&] { ReadModelConfig(config(1025)); }),
              HasSubstr("num_attention_heads is 1025, expected 1 to 1024"));
}

std::string TokenizerJson(const std::string& vocabulary, const std::string& added = "",
                          const std::string& step = "") {
  return R"({"added_tokens":[)" + added + R"(],"normalizer":null,"post_processor":null,
      "decoder":{"type":"ByteLevel"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[)" +
         step + R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
      "model":{"type":"BPE","vocab":{)" +
         vocabulary + R"(},"merges":[]}})";
}

TEST(HostileTokenizer, MemoryGoesByWhatTheFileHolds) {
  const TempFolder folder;
  const auto error = [&](int64_t id) {
    return ErrorOf([&] {
      Tokenizer::Open(folder.Write("tokenizer.json", TokenizerJson(fmt::format("\"a\":{}", id))));
    });
  };
  EXPECT_EQ(error(65536), "");
  EXPECT_THAT(error(65537), HasSubstr("token \"a\" has id 65537, expected 0 to 65536"));
}

TEST(HostileTokenizer, KeysGivenTwiceAreRefused) {
  const TempFolder folder;
  const auto path = folder.Write("tokenizer.json", TokenizerJson(R"("a":0,"a":1)"));
  EXPECT_THAT(ErrorOf([&] { Tokenizer::Open(path); }),
              AllOf(HasSubstr("tokenizer.json"), HasSubstr("key \"a\" appears twice")));
  folder.Write("tokenizer_config.json", R"({"chat_template":"x","chat_template":"y"})");
  EXPECT_THAT(ErrorOf([&] { ChatTemplate::Open(folder.path()); }),
              AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("appears twice")));
  folder.Write("tokenizer_config.json", std::string(100'000, '['));
  EXPECT_THAT(ErrorOf([&] { ChatTemplate::Open(folder.path()); }), HasSubstr("64 deep"));
}

// Each of a million white-space tokens strips what is around it: once quadratic, hours.
TEST(HostileTokenizer, StrippingTokensTakeTimeByTheText) {
  const std::string text = std::string(1'000'000, ' ') + "x";
  for (const bool left : {true, false}) {
    AddedToken space{1, " "};
    (left ? space.lstrip : space.rstrip) = true;
    AddedToken tab{2, "\t"};
    const AddedTokenFinder finder({space, tab});
    std::string mixed = text;
    for (size_t i = 1; i + 1 < mixed.size(); i += 2) mixed[i] = '\t';
    for (const std::string& each : {text, mixed}) {
      int64_t n_tokens = 0;
      finder.Split(
          each, [](std::string_view) {}, [&](TokenId) { ++n_tokens; });
      EXPECT_EQ(n_tokens, 1'000'000);
    }
  }
}

// ICU takes minutes for tens of thousands, hours for a million.
TEST(HostileText, MarksOnOneCharacterAreBounded) {
  const auto marks = [](int64_t n) {
    std::string text = "a";
    for (int64_t i = 0; i < n; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
    return text;
  };
  std::string storage;
  EXPECT_EQ(NormalizeNfc("b" + marks(1024) + "b" + marks(1024), storage).substr(0, 4), "b\u1ea1");
  EXPECT_THAT(ErrorOf([&] { NormalizeNfc(marks(1026), storage); }),
              HasSubstr("more than 512 combining marks out of order"));
  EXPECT_THAT(ErrorOf([&] { NormalizeNfc(marks(1'000'000), storage); }), HasSubstr("marks"));
  std::string in_order = "e";
  for (int i = 0; i < 100'000; ++i) in_order += "\u0301";
  EXPECT_EQ(NormalizeNfc(in_order, storage).size(), in_order.size() - 1);  // the first is composed
}

// Linear in the steps at each place, quadratic over all of them: PCRE2's own limit does not see it.
TEST(HostileTokenizer, QuadraticExpressionIsStopped) {
  const SplitRegex regex("(?:a|b)*[cd]", "tokenizer.json");
  SplitMatches matches(regex, /*most_seconds=*/0.2);
  size_t begin = 0, end = 0;
  const std::string text(2'000, 'a');
  matches.Start(text);
  EXPECT_FALSE(matches.Next(begin, end));
  const std::string longer(60'000, 'a');
  matches.Start(longer);
  EXPECT_THAT(ErrorOf([&] { matches.Next(begin, end); }),
              AllOf(HasSubstr("tokenizer.json: the regular expression"), HasSubstr("takes more")));
}

// The windows in which matches are sought are not seen in what is found: a match at each place
// behind a gap, characters of several bytes at the windows' ends, look-behind across them.
TEST(SplitMatches, GapsOfAnyLengthAreCrossed) {
  const SplitRegex regex("(?<=\xE4\xB8\x96)x", "here");
  SplitMatches matches(regex);
  for (size_t gap = 0; gap < 300; ++gap) {
    std::string text(gap % 3, '.');
    for (size_t i = 0; i < gap; ++i) text += "\xE4\xB8\x96";
    text += "\xE4\xB8\x96x!";
    matches.Start(text);
    size_t begin = 0, end = 0;
    ASSERT_TRUE(matches.Next(begin, end)) << gap;
    ASSERT_EQ(begin, text.size() - 2) << gap;
    ASSERT_EQ(end, text.size() - 1) << gap;
    ASSERT_FALSE(matches.Next(begin, end)) << gap;
  }
}

void Render(const std::string& source) {
  ChatTemplate::Parse(source, {})->Render(std::vector<ChatMessage>{{"user", "u"}});
}

// Trimming it would read behind its end.
TEST(HostileTemplate, BosTokenThatIsNoTextIsRefused) {
  EXPECT_THAT(ErrorOf([&] {
                ChatTemplate::Parse("{{ bos_token | trim }}", {{"bos_token", "\xf0"}});
              }),
              HasSubstr(R"(its bos_token is "\x{f0}", which is not UTF-8)"));
}

TEST(HostileTemplate, NumbersThatOverflowAreRefused) {
  std::string source = "{% set a = 999999999 %}";
  for (int i = 0; i < 40; ++i) source += "{% set a = a + a %}";
  EXPECT_THAT(ErrorOf([&] { Render(source); }), HasSubstr("a '+' whose result is beyond 64 bits"));
  source = "{% set a = 0 - 999999999 %}";
  for (int i = 0; i < 40; ++i) source += "{% set a = a - 0 - (0 - a) %}";
  EXPECT_THAT(ErrorOf([&] { Render(source); }), HasSubstr("whose result is beyond 64 bits"));
}

// A text of megabytes that every operand copies.
TEST(HostileTemplate, CopiesAreWork) {
  std::string source = "{% set a = 'aaaaaaaaaaaaaaaa' %}";
  for (int i = 0; i < 18; ++i) source += "{% set a = a + a %}";
  for (int i = 0; i < 20'000; ++i) source += "{% if a == a %}{% endif %}";
  EXPECT_THAT(ErrorOf([&] { Render(source); }), HasSubstr("more work"));
}

TEST(MappingFaultsDeathTest, FileCutShortEndsTheProcessByName) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TempFolder folder;
  const auto path = folder.Write("cut.gguf", std::string(100'000, 'x'));
  EXPECT_EXIT(
      {
        HandleMappingFaults();
        const MappedFile gone(folder.Write("other", "x"));
        MappedFile file(path);
        const MappedFile moved = std::move(file);
        if (::truncate(path.c_str(), 10) != 0) ::_exit(3);
        const volatile uint8_t byte = moved.data()[99'999];
        ::_exit(byte == 'x' ? 4 : 5);
      },
      testing::ExitedWithCode(1), "kvfold: .*cut.gguf: cannot be read any more: it was cut short");
}

}  // namespace
}  // namespace kvfold
