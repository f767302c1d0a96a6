// Lines of a batch as users write them.
#include "runtime/jobs/prompt_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "comm/error.h"
#include "tests/models/error_of.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string RefusalOf(const std::string& json) {
  return ErrorOf([&] { ParsePromptLine(json, {}); });
}
// A line that is right but for one more field.
std::string RefusalOfField(const std::string& field) {
  return RefusalOf(R"({"id": "a", "prompt": "p", )" + field + "}");
}

TEST(PromptLineTest, EveryFieldIsRead) {
  const PromptLine line = ParsePromptLine(
      R"({"id": "q1", "prompt": "Why?", "document": "a/b.txt", "max_new_tokens": 7,)"
      R"( "temperature": 0.5, "seed": 12345678901234, "stop": ["\n\n", "END"]})",
      {});
  EXPECT_EQ(line.id, "q1");
  EXPECT_EQ(line.prompt, "Why?");
  EXPECT_EQ(line.messages, std::nullopt);
  EXPECT_EQ(line.tokens, std::nullopt);
  EXPECT_EQ(line.document, "a/b.txt");
  EXPECT_EQ(line.max_new_tokens, 7);
  EXPECT_EQ(line.sampling.temperature, 0.5);
  EXPECT_EQ(line.sampling.seed, 12345678901234u);
  EXPECT_THAT(line.stop, ElementsAre("\n\n", "END"));
}

TEST(PromptLineTest, MessagesAndTokensAreRead) {
  const PromptLine chat = ParsePromptLine(
      R"({"id": "a", "messages": [{"role": "system", "content": "Be brief."},)"
      R"( {"content": "Hi \u00e9", "role": "user"}, {"role": "assistant", "content": ""}]})",
      {});
  ASSERT_TRUE(chat.messages.has_value());
  ASSERT_EQ(chat.messages->size(), 3u);
  EXPECT_EQ(chat.messages->at(0).role, "system");
  EXPECT_EQ(chat.messages->at(1).role, "user");
  EXPECT_EQ(chat.messages->at(1).content, "Hi \u00e9");
  EXPECT_EQ(chat.messages->at(2).content, "");
  const PromptLine ids = ParsePromptLine(R"({"id": "a", "tokens": [0, 2147483647]})", {});
  EXPECT_THAT(ids.tokens.value(), ElementsAre(0, 2147483647));
}

TEST(PromptLineTest, WhatIsLeftOutComesFromTheDefaults) {
  PromptLine defaults;
  defaults.document = "d.txt";
  defaults.max_new_tokens = 99;
  defaults.sampling = {.temperature = 0.7, .top_k = 40, .top_p = 0.9, .seed = 3};
  defaults.stop = {"X"};
  const PromptLine line = ParsePromptLine(R"({"id": "a", "prompt": ""})", defaults);
  EXPECT_EQ(line.prompt, "");
  EXPECT_EQ(line.document, "d.txt");
  EXPECT_EQ(line.max_new_tokens, 99);
  EXPECT_EQ(line.sampling.temperature, 0.7);
  EXPECT_EQ(line.sampling.top_k, 40);
  EXPECT_EQ(line.sampling.top_p, 0.9);
  EXPECT_EQ(line.sampling.seed, 3u);
  EXPECT_THAT(line.stop, ElementsAre("X"));
  EXPECT_THAT(ParsePromptLine(R"({"id": "a", "prompt": "", "stop": []})", defaults).stop,
              IsEmpty());
}

TEST(PromptLineTest, WhatIsNoJsonObjectIsRefused) {
  for (const char* json :
       {"", " ", "{", "{\"id\": \"a\"", "[]", "[1]", "null", "3", "\"id\"", "{\"id\": \"a\"} x",
        "{'id': 'a'}", "{\"id\": \"\xff\"}", "{\"id\": \"a\", \"temperature\": 1e999}"}) {
    EXPECT_THAT(RefusalOf(json), HasSubstr("not a JSON object")) << json;
  }
}

TEST(PromptLineTest, WrongTypesAreRefusedByField) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> wrong = {
      {"id", {"1", "null", "[]", "{}", "true"}},
      {"prompt", {"1", "null", "[\"a\"]"}},
      {"document", {"1", "null", "[]"}},
      {"max_new_tokens",
       {"\"7\"", "7.0", "7.5", "null", "true", "[]", "0", "-1", "1073741825", "9223372036854775808",
        "18446744073709551616", "1e30"}},
      {"temperature", {"\"0\"", "null", "true", "[]"}},
      {"seed", {"-1", "1.0", "\"1\"", "null", "9223372036854775808", "18446744073709551615"}},
      {"stop", {"\"a\"", "null", "{}", "[1]", "[null]", "[[\"a\"]]", "[\"\"]", "[\"a\", \"\"]"}}};
  for (const auto& [field, values] : wrong) {
    for (const std::string& value : values) {
      const std::string refusal = field == "prompt" || field == "id"
                                      ? RefusalOf("{\"" + field + "\": " + value + "}")
                                      : RefusalOfField("\"" + field + "\": " + value);
      EXPECT_THAT(refusal, AllOf(HasSubstr("\"" + field + "\""), HasSubstr("expected")))
          << field << ": " << value;
    }
  }
  EXPECT_THAT(RefusalOfField("\"temperature\": -0.5"), HasSubstr("temperature is -0.5"));
  EXPECT_EQ(RefusalOfField("\"max_new_tokens\": 1073741824, \"seed\": 9223372036854775807"), "");
}

TEST(PromptLineTest, WrongMessagesAndTokensAreRefused) {
  for (const char* value :
       {"1", "\"hi\"", "[]", "{}", "[1]", "[null]", "[{}]", "[[]]", R"([{"role": "user"}])",
        R"([{"content": "x"}])", R"([{"role": "user", "content": "x", "name": "y"}])"}) {
    EXPECT_THAT(RefusalOf(fmt::format(R"({{"id": "a", "messages": {}}})", value)),
                HasSubstr("\"messages\""))
        << value;
  }
  EXPECT_THAT(RefusalOf(R"({"id": "a", "messages": [{"role": "tool", "content": "x"}]})"),
              AllOf(HasSubstr("\"role\" is \"tool\""), HasSubstr("system, user or assistant")));
  EXPECT_THAT(RefusalOf(R"({"id": "a", "messages": [{"role": "user", "content": 1}]})"),
              HasSubstr("\"content\" is 1"));
  for (const char* value : {"1", "\"1\"", "{}", "[-1]", "[2147483648]", "[1.5]", "[\"1\"]",
                            "[null]", "[[1]]", "[18446744073709551615]"}) {
    EXPECT_THAT(RefusalOf(fmt::format(R"({{"id": "a", "tokens": {}}})", value)),
                HasSubstr("\"tokens\""))
        << value;
  }
}

TEST(PromptLineTest, UnknownFieldsAreRefusedByName) {
  EXPECT_THAT(RefusalOfField(R"("max_tokens": 3)"), HasSubstr("unknown field \"max_tokens\""));
  EXPECT_THAT(RefusalOfField(R"("": 3)"), HasSubstr("unknown field \"\""));
}

TEST(PromptLineTest, FieldsThatStandTwiceAreRefusedByName) {
  EXPECT_THAT(RefusalOfField(R"("prompt": "q")"), HasSubstr("\"prompt\" stands there twice"));
  EXPECT_THAT(RefusalOfField(R"("id": "a")"), HasSubstr("\"id\" stands there twice"));
  EXPECT_THAT(RefusalOf(R"({"id": "a", "messages": [{"role": "user", "content": "b",)"
                        R"( "role": "user"}]})"),
              HasSubstr("\"role\" stands there twice"));
  // In objects beside each other a name may come again.
  EXPECT_EQ(ParsePromptLine(R"({"id": "a", "messages": [{"role": "user", "content": "b"},)"
                            R"( {"role": "user", "content": "c"}]})",
                            {})
                .messages->size(),
            2u);
}

TEST(PromptLineTest, DeepNestingIsRefused) {
  for (const size_t depth : {10u, 1000u, 2'000'000u}) {
    const std::string open(depth, '['), close(depth, ']');
    EXPECT_THAT(RefusalOfField(R"("stop": )" + open + close), HasSubstr("nested"));
    EXPECT_THAT(RefusalOfField(R"("stop": )" + open), HasSubstr("nested"));
    EXPECT_THAT(RefusalOf(open), HasSubstr("nested"));
  }
}

TEST(PromptLineTest, ExactlyOneOfPromptMessagesAndTokens) {
  const std::string prompt = R"("prompt": "p")", tokens = R"("tokens": [1])",
                    messages = R"("messages": [{"role": "user", "content": "x"}])";
  const auto line = [](const std::string& fields) { return "{\"id\": \"a\"" + fields + "}"; };
  for (const std::string& fields :
       {std::string(), ", " + prompt + ", " + tokens, ", " + prompt + ", " + messages,
        ", " + tokens + ", " + messages, ", " + prompt + ", " + tokens + ", " + messages}) {
    EXPECT_THAT(RefusalOf(line(fields)), HasSubstr("exactly one of")) << fields;
  }
  for (const std::string& field : {prompt, tokens, messages})
    EXPECT_EQ(RefusalOf(line(", " + field)), "");
}

TEST(PromptLineTest, AnIdIsNeeded) {
  EXPECT_THAT(RefusalOf(R"({"prompt": "p"})"), HasSubstr("\"id\""));
  EXPECT_THAT(RefusalOf(R"({"id": "", "prompt": "p"})"), HasSubstr("\"id\""));
}

TEST(PromptLineTest, LongValuesAreCutShortInRefusals) {
  const std::string refusal = RefusalOfField("\"seed\": \"" + std::string(100'000, 'x') + "\"");
  EXPECT_LT(refusal.size(), 300u);
  EXPECT_THAT(refusal, HasSubstr("..."));
}

TEST(ReadTextFileTest, ReadsBytesAsTheyAre) {
  const TempFolder folder;
  const std::string bytes("a\0b\r\n\xff", 6);
  EXPECT_EQ(ReadTextFile(folder.Write("file", bytes)), bytes);
  EXPECT_EQ(ReadTextFile(folder.Write("empty", "")), "");
  const std::string missing = folder.path() / "missing";
  EXPECT_THAT(ErrorOf([&] { ReadTextFile(missing); }),
              AllOf(HasSubstr(missing), HasSubstr("No such file")));
  EXPECT_THAT(ErrorOf([&] { ReadTextFile(folder.path()); }), HasSubstr("is a folder"));
}

}  // namespace
}  // namespace kvfold
