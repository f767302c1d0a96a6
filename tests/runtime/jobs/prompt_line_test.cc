// Lines of a batch as users write them.
#include "runtime/jobs/prompt_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "comm/error.h"
#include "models/quoted.h"
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
  for (const char* json : {"", " ", "{", "{\"id\": \"a\"", "[]", "[1]", "null", "3", "\"id\"",
                           "{\"id\": \"a\"} x", "{'id': 'a'}", "{\"id\": \"\xff\"}",
                           "{\"id\": \"\\ud83d\"}", "{\"id\": \"a\", \"temperature\": 1e999}"}) {
    EXPECT_THAT(RefusalOf(json), HasSubstr("not a JSON object")) << json;
  }
}

TEST(PromptLineTest, WrongTypesAreRefusedByField) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> wrong = {
      {"id", {"1.5", "[]", "{}", "true", "\"\"", "1e300"}},
      {"custom_id", {"1.5", "[]", "\"\""}},
      {"prompt", {"1", "[\"a\", \"b\"]", "[]", "{}", "[[1]]"}},
      {"document", {"1", "[]"}},
      {"max_new_tokens",
       {"\"7\"", "7.5", "true", "[]", "0", "-1", "1073741825", "9223372036854775808",
        "18446744073709551616", "1e30"}},
      {"max_tokens", {"\"7\"", "0", "-1", "7.5"}},
      {"max_completion_tokens", {"\"7\"", "0", "-1", "7.5"}},
      {"temperature", {"\"0\"", "true", "[]"}},
      {"top_p", {"\"0\"", "true", "[]"}},
      {"top_k", {"\"5\"", "-2", "0.5", "9223372036854775808", "99999999999999999999"}},
      {"seed", {"-1", "1.5", "\"1\"", "18446744073709551616"}},
      {"document", {"7", "\"a.txt\\u0000b\""}},
      {"stop", {"1", "{}", "[1]", "[null]", "[[\"a\"]]", "\"\"", "[\"\"]", "[\"a\", \"\"]"}}};
  for (const auto& [field, values] : wrong) {
    for (const std::string& value : values) {
      const std::string refusal = field == "prompt" || field == "id" || field == "custom_id"
                                      ? RefusalOf("{\"" + field + "\": " + value + "}")
                                      : RefusalOfField("\"" + field + "\": " + value);
      EXPECT_THAT(refusal, AllOf(HasSubstr("\"" + field + "\""), HasSubstr("expected")))
          << field << ": " << value;
    }
  }
  EXPECT_THAT(RefusalOfField("\"temperature\": -0.5"), HasSubstr("temperature is -0.5"));
  EXPECT_EQ(RefusalOfField("\"max_new_tokens\": 1073741824, \"seed\": 9223372036854775807"), "");
  EXPECT_EQ(RefusalOfField("\"seed\": 18446744073709551615"), "");
}

TEST(PromptLineTest, WrongMessagesAndTokensAreRefused) {
  for (const char* value :
       {"1", "\"hi\"", "[]", "{}", "[1]", "[null]", "[{}]", "[[]]", R"([{"role": "user"}])",
        R"([{"content": "x"}])", R"([{"role": "user", "content": "x", "weight": 1}])",
        R"([{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}])",
        R"([{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}])"}) {
    EXPECT_THAT(RefusalOf(fmt::format(R"({{"id": "a", "messages": {}}})", value)),
                HasSubstr("\"messages\""))
        << value;
  }
  EXPECT_THAT(
      RefusalOf(R"({"id": "a", "messages": [{"role": "tool", "content": "x"}]})"),
      AllOf(HasSubstr("\"role\" is \"tool\""), HasSubstr("system, developer, user or assistant")));
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
  EXPECT_THAT(RefusalOfField(R"("max_token": 3)"), HasSubstr("unknown field \"max_token\""));
  EXPECT_THAT(RefusalOfField(R"("": 3)"), HasSubstr("unknown field \"\""));
}

TEST(PromptLineTest, FieldsThatStandTwiceAreRefusedByName) {
  EXPECT_THAT(RefusalOfField(R"("prompt": "q")"), HasSubstr("key \"prompt\" appears twice"));
  EXPECT_THAT(RefusalOfField(R"("id": "a")"), HasSubstr("key \"id\" appears twice"));
  EXPECT_THAT(RefusalOf(R"({"id": "a", "messages": [{"role": "user", "content": "b",)"
                        R"( "role": "user"}]})"),
              HasSubstr("key \"role\" appears twice"));
  // In objects beside each other a name may come again.
  EXPECT_EQ(ParsePromptLine(R"({"id": "a", "messages": [{"role": "user", "content": "b"},)"
                            R"( {"role": "user", "content": "c"}]})",
                            {})
                .messages->size(),
            2u);
}

TEST(PromptLineTest, DeepNestingIsRefused) {
  for (const size_t depth : {70u, 1000u, 2'000'000u}) {
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

TEST(PromptLineTest, WholeNumbersMayBeWrittenWithAPoint) {
  const PromptLine line = ParsePromptLine(
      R"({"id": "a", "prompt": "p", "max_new_tokens": 2.0, "seed": 1e3, "top_k": 4.0})", {});
  EXPECT_EQ(line.max_new_tokens, 2);
  EXPECT_EQ(line.sampling.seed, 1000u);
  EXPECT_EQ(line.sampling.top_k, 4);
}

TEST(PromptLineTest, NullIsNotGiven) {
  PromptLine defaults;
  defaults.document = "d.txt";
  defaults.stop = {"X"};
  defaults.sampling = {.temperature = 0.7, .top_k = 40, .top_p = 0.9, .seed = 3};
  const PromptLine line = ParsePromptLine(
      R"({"id": "a", "custom_id": null, "prompt": "p", "messages": null, "tokens": null,)"
      R"( "document": null, "max_new_tokens": null, "max_tokens": 5, "temperature": null,)"
      R"( "top_p": null, "top_k": null, "seed": null, "stop": null, "tools": null, "n": null})",
      defaults);
  EXPECT_EQ(line.document, "d.txt");
  EXPECT_EQ(line.max_new_tokens, 5);
  EXPECT_EQ(line.sampling.temperature, 0.7);
  EXPECT_EQ(line.sampling.top_k, 40);
  EXPECT_EQ(line.sampling.top_p, 0.9);
  EXPECT_EQ(line.sampling.seed, 3u);
  EXPECT_THAT(line.stop, ElementsAre("X"));
  EXPECT_THAT(RefusalOf(R"({"id": null, "prompt": "p"})"), HasSubstr("\"id\""));
  EXPECT_THAT(RefusalOf(R"({"id": "a", "prompt": null})"), HasSubstr("exactly one"));
}

TEST(PromptLineTest, SamplingIsReadByLine) {
  const PromptLine line = ParsePromptLine(
      R"({"id": "a", "prompt": "p", "temperature": 1, "top_p": 0.25, "top_k": 5})", {});
  EXPECT_EQ(line.sampling.temperature, 1.0);
  EXPECT_EQ(line.sampling.top_p, 0.25);
  EXPECT_EQ(line.sampling.top_k, 5);
  EXPECT_EQ(ParsePromptLine(R"({"id": "a", "prompt": "p", "top_k": -1})", {}).sampling.top_k, 0);
  EXPECT_THAT(RefusalOfField(R"("top_p": 0)"), HasSubstr("top_p is 0"));
  EXPECT_THAT(RefusalOfField(R"("top_p": 1.5)"), HasSubstr("top_p is 1.5"));
}

TEST(PromptLineTest, StopMayBeOneString) {
  EXPECT_THAT(ParsePromptLine(R"({"id": "a", "prompt": "p", "stop": "END"})", {}).stop,
              ElementsAre("END"));
}

TEST(PromptLineTest, NamesOfOneLimitMustAgree) {
  for (const char* name : {"max_new_tokens", "max_tokens", "max_completion_tokens"}) {
    const auto line = fmt::format(R"({{"id": "a", "prompt": "p", "{}": 3}})", name);
    EXPECT_EQ(ParsePromptLine(line, {}).max_new_tokens, 3) << name;
  }
  EXPECT_EQ(RefusalOfField(R"("max_tokens": 3, "max_completion_tokens": 3)"), "");
  EXPECT_THAT(RefusalOfField(R"("max_tokens": 3, "max_new_tokens": 4)"),
              AllOf(HasSubstr("max_tokens"), HasSubstr("max_new_tokens"), HasSubstr("differ")));
  // The defaults' own limit is not held against the line's.
  EXPECT_EQ(ParsePromptLine(R"({"id": "a", "prompt": "p", "max_tokens": 128})", {}).max_new_tokens,
            128);
}

TEST(PromptLineTest, NumbersAreIdsByTheirText) {
  const auto id = [](const std::string& value) {
    return ParsePromptLine("{\"id\": " + value + ", \"prompt\": \"p\"}", {}).id;
  };
  EXPECT_EQ(id("7"), "7");
  EXPECT_EQ(id("7.0"), "7");
  EXPECT_EQ(id("\"7\""), "7");
  EXPECT_EQ(id("-3"), "-3");
  EXPECT_EQ(id("18446744073709551615"), "18446744073709551615");
}

TEST(PromptLineTest, ContentMayBeInParts) {
  const auto content = [](const std::string& parts) {
    const std::string line =
        R"({"id": "a", "messages": [{"role": "user", "content": )" + parts + "}]}";
    return ParsePromptLine(line, {}).messages->front().content;
  };
  EXPECT_EQ(content(R"([{"type": "text", "text": "hi"}])"), "hi");
  // As transformers' server joins them for a model of text.
  EXPECT_EQ(content(R"([{"type": "text", "text": "a"}, {"text": "b\n", "type": "text"}])"),
            "a b\n");
  EXPECT_EQ(content("[]"), "");
  const auto refusal = [&](const std::string& parts) { return ErrorOf([&] { content(parts); }); };
  EXPECT_THAT(refusal(R"([{"type": "image_url", "image_url": {"url": "x"}}])"),
              HasSubstr("\"type\" is \"image_url\""));
  EXPECT_THAT(refusal(R"([{"type": "text"}])"), HasSubstr("\"text\""));
  EXPECT_THAT(refusal(R"([{"type": "text", "text": 1}])"), HasSubstr("\"text\" is 1"));
  EXPECT_THAT(refusal(R"(["hi"])"), HasSubstr("\"content\""));
}

TEST(PromptLineTest, DeveloperIsSystemAndNamesAreKept) {
  const PromptLine line =
      ParsePromptLine(R"({"id": "a", "messages": [{"role": "developer", "content": "be brief"},)"
                      R"( {"role": "user", "content": "hi", "name": "bob", "refusal": null}]})",
                      {});
  EXPECT_EQ(line.messages->front().role, "system");
  EXPECT_EQ(line.name, "bob");
}

TEST(PromptLineTest, LinesOfOpenAiBatchesAreRead) {
  const PromptLine chat = ParsePromptLine(
      R"({"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": )"
      R"({"model": "x", "messages": [{"role": "user", "content": "Hello"}],)"
      R"( "max_completion_tokens": 4, "temperature": 0.5, "top_p": 0.5, "stop": ["a", "b"],)"
      R"( "seed": 3, "n": 1,)"
      R"( "stream": false, "user": "u", "metadata": {"a": "b"}, "logprobs": false, "tools": [],)"
      R"( "logit_bias": {},)"
      R"( "presence_penalty": 0, "frequency_penalty": 0.0, "response_format": {"type": "text"},)"
      R"( "document": "d.txt"}})",
      {});
  EXPECT_EQ(chat.id, "q1");
  EXPECT_EQ(chat.messages->front().content, "Hello");
  EXPECT_EQ(chat.max_new_tokens, 4);
  EXPECT_EQ(chat.sampling.temperature, 0.5);
  EXPECT_EQ(chat.sampling.top_p, 0.5);
  EXPECT_EQ(chat.sampling.seed, 3u);
  EXPECT_THAT(chat.stop, ElementsAre("a", "b"));
  EXPECT_EQ(chat.document, "d.txt");
  const auto completion = [](const std::string& prompt) {
    return ParsePromptLine(
        R"({"custom_id": 7, "method": "POST", "url": "/v1/completions", "body": )"
        R"({"model": "x", "max_tokens": 4, "prompt": )" +
            prompt + "}}",
        {});
  };
  EXPECT_EQ(completion("\"Hello\"").prompt, "Hello");
  EXPECT_EQ(completion("\"Hello\"").id, "7");
  EXPECT_EQ(completion("[\"Hello\"]").prompt, "Hello");
  EXPECT_THAT(completion("[1, 2]").tokens.value(), ElementsAre(1, 2));
}

TEST(PromptLineTest, WhatOpenAiBatchesAskForInVainIsRefusedByName) {
  const std::string messages = R"("messages": [{"role": "user", "content": "x"}])";
  const auto refusal = [](const std::string& envelope) {
    return RefusalOf("{\"custom_id\": \"a\", " + envelope + "}");
  };
  EXPECT_EQ(refusal("\"body\": {" + messages + "}"), "");
  EXPECT_THAT(refusal(R"("url": "/v1/embeddings", "body": {"input": "x"})"),
              HasSubstr("\"url\" is \"/v1/embeddings\""));
  EXPECT_THAT(refusal("\"method\": \"GET\", \"body\": {" + messages + "}"),
              HasSubstr("\"method\""));
  EXPECT_THAT(refusal(R"("method": "POST", "url": "/v1/chat/completions")"), HasSubstr("\"body\""));
  EXPECT_THAT(refusal(R"("url": "/v1/chat/completions", "body": [1])"), HasSubstr("\"body\""));
  EXPECT_THAT(refusal(R"("url": "/v1/chat/completions", "body": {"prompt": "x"})"),
              HasSubstr("expected \"messages\""));
  EXPECT_THAT(refusal("\"url\": \"/v1/completions\", \"body\": {" + messages + "}"),
              HasSubstr("expected \"prompt\""));
  EXPECT_THAT(refusal("\"colour\": 1, \"body\": {" + messages + "}"), HasSubstr("\"colour\""));
  EXPECT_THAT(RefusalOf("{\"body\": {" + messages + "}}"), HasSubstr("\"id\""));
  EXPECT_THAT(refusal("\"id\": \"b\", \"body\": {" + messages + "}"),
              AllOf(HasSubstr("custom_id"), HasSubstr("differ")));
  for (const auto& [field, value] : std::vector<std::pair<std::string, std::string>>{
           {"n", "2"},
           {"stream", "true"},
           {"logprobs", "true"},
           {"logprobs", "5"},
           {"presence_penalty", "0.5"},
           {"frequency_penalty", "-1"},
           {"repetition_penalty", "1.1"},
           {"logit_bias", "{\"50256\": -100}"},
           {"tools", "[{\"type\": \"function\"}]"},
           {"tool_choice", "\"required\""},
           {"response_format", "{\"type\": \"json_object\"}"},
           {"min_p", "0.1"},
           {"best_of", "4"},
           {"echo", "true"},
           {"suffix", "\"x\""},
           {"ignore_eos", "true"},
           {"reasoning_effort", "\"high\""}}) {
    EXPECT_THAT(refusal("\"body\": {" + messages + ", \"" + field + "\": " + value + "}"),
                HasSubstr("\"" + field + "\""))
        << field;
    EXPECT_EQ(refusal("\"body\": {" + messages + ", \"" + field + "\": null}"), "") << field;
  }
}

TEST(PromptLineTest, WhatEditorsLeaveAroundALineIsNotInIt) {
  const std::string json = R"({"id": "a", "prompt": "p"})";
  for (const std::string& line :
       {"\xEF\xBB\xBF" + json, json + "\r", "\t " + json + " \t", json + "\u2028", json + "\u00a0",
        json + std::string(512, '\0')}) {
    EXPECT_EQ(ParsePromptLine(line, {}).prompt, "p");
    EXPECT_EQ(PromptLineText(line), json);
  }
  for (const char* blank : {"", " ", "\r", "\xEF\xBB\xBF", "\xEF\xBB\xBF\r", "\t \u2029"})
    EXPECT_EQ(PromptLineText(blank), "");
  EXPECT_THAT(RefusalOf(std::string(512, '\0')), HasSubstr("512 of its 512 bytes are zero"));
  // The parser would take what comes behind a zero byte for nothing.
  EXPECT_THAT(RefusalOf(json + std::string(1, '\0') + json), HasSubstr("zero"));
}

TEST(PromptLineTest, TheIdOfABadLineIsTold) {
  const std::vector<std::pair<std::string, std::string>> lines = {
      {R"({"id": "a", "temprature": 1})", "a"},
      {R"({"prompt": "cut \ud83d", "id": "a"})", "a"},
      {"{\"prompt\": \"\xff\", \"id\": 7}", "7"},
      {R"({"custom_id": "q\u00e9", "method": "GET", "body": {"id": "inner"}})", "q\u00e9"},
      {R"({"id": "a", "prompt": )", "a"},
      {R"({"id": "a", "prompt": "x"} trailing)", "a"},
      {R"({"metadata": {"id": "inner"}, "id": "a", "n": 2})", "a"},
      {R"({"prompt": "\"id\": \"b\"", "id": "a", })", "a"},
      {R"({"id": "\ud83d"})", ""},
      {R"({"id": [1]})", ""},
      {R"({"prompt": "x"})", ""},
      {R"([{"id": "a"}])", ""},
      {R"("id": "a")", ""},
      {"{", ""},
      {"", ""}};
  for (const auto& [line, id] : lines) EXPECT_EQ(PromptLineId(line), id) << line;
}

TEST(PromptLineTest, ForeignTextIsShownEscaped) {
  for (const std::string& line :
       {std::string(R"({"id": "a", "prompt": "p", "\u001b[31m": 1})"),
        std::string(R"({"id": "a", "prompt": "p", "seed": "\u001b\u202e\u009b"})"),
        std::string("{\"id\": \"\xff"), std::string("\x1b"), std::string("{\"a\": \"\xe9\"}")}) {
    const std::string refusal = RefusalOf(line);
    EXPECT_NE(refusal, "");
    EXPECT_EQ(Printable(refusal), refusal);
  }
  EXPECT_THAT(RefusalOf("  {\"id\": x}"), HasSubstr("column 10: found \"x\", expected a value"));
}

}  // namespace
}  // namespace kvfold
