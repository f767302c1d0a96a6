// Where and why a text is not JSON, in one sentence that is never cut off.
#include "models/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "models/json_file.h"
#include "models/quoted.h"
#include "tests/models/error_of.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string Refusal(const std::string& text) {
  return ErrorOf([&] { ParseJson(text, "config.json"); });
}

TEST(JsonText, EverySlipIsNamedWithItsPlace) {
  const struct {
    std::string text, place, why;
  } kSlips[] = {
      {"{\n  \"a\": 1,\n}", "line 3, column 1",
       "found \"}\", expected a key in double quotes (JSON has no comma behind the last one)"},
      {"[1, 2,\n ]", "line 2, column 2", "found \"]\", expected a value (JSON has no comma behind"},
      {"{ // mine\n\"a\": 1}", "line 1, column 3",
       "found \"//\", expected a key in double quotes (JSON has no comments)"},
      {"{\"a\": 1 # one\n}", "line 1, column 9", "expected \",\" or \"}\" (JSON has no comments)"},
      {"{\"a\": NaN}", "line 1, column 7", "found \"NaN\", expected a value (JSON has no NaN"},
      {"{\"a\": -Infinity}", "line 1, column 7",
       "found \"-Infinity\", expected a value (JSON has no NaN"},
      {"{'a': 1}", "line 1, column 2",
       "found \"'a'\", expected a key in double quotes (JSON's strings"},
      {"{\"a\": True}", "line 1, column 7",
       "found \"True\", expected a value (JSON has true, false"},
      {"{\"a\": 1 \"b\": 2}", "line 1, column 9", "found \"\\\"b\\\"\", expected \",\" or \"}\""},
      {"{\"a\" 1}", "line 1, column 6", "found \"1\", expected \":\""},
      {"{\"a\": 1", "line 1, column 8", "the text ends, expected \",\" or \"}\""},
      {"", "line 1, column 1", "the text ends, expected a value"},
      {"{} x", "line 1, column 4", "found \"x\", expected nothing more"},
      {"{\"\u4e2d\u6587\": x}", "line 1, column 8", "found \"x\", expected a value"},  // characters
      {"{\"a\": \"b\nc\"}", "line 1, column 9", "U+000A (LF) must be escaped"},
      {"{\"a\": \"b", "line 1, column 7", "missing closing quote"},
      {"{\"a\": \"\\ud83d\"}", "line 1, column 14", "surrogate U+D800..U+DBFF must be followed"},
      {"{\"a\": \"\xff\"}", "line 1, column 8", "ill-formed UTF-8 byte"},
      {"{\"a\": 1e999}", "line 1, column 7", "the number \"1e999\" is too large"},
      {"\xEF\xBB\xBF{\"a\": x}", "line 1, column 8", "found \"x\""},
  };
  for (const auto& slip : kSlips) {
    EXPECT_THAT(Refusal(slip.text),
                AllOf(StartsWith("config.json: not valid JSON at " + slip.place + ":"),
                      HasSubstr(slip.why)))
        << slip.text;
  }
}

// What was last read may be long, or hold what a terminal obeys; the cause comes behind it.
TEST(JsonText, ForeignTextNeitherHidesTheCauseNorLeavesRaw) {
  const std::string longest(100'000, 'x');
  EXPECT_THAT(Refusal("{\"a\": \"" + longest + "\" 1}"), HasSubstr("expected \",\" or \"}\""));
  EXPECT_THAT(Refusal("{" + longest + ": 1}"), EndsWith("expected a key in double quotes"));
  EXPECT_THAT(Refusal("{\"a\": \"; last read: '; expected end of input\n\"}"),
              HasSubstr("U+000A (LF) must be escaped"));
  for (const std::string& text :
       {std::string("{\x1b[31m: 1}"), std::string("{\"\x1b\": 1}"), std::string("{\"a\": \xff}"),
        std::string("{\"a\": \"\u202e\" \"\u009b\"}")}) {
    const std::string refusal = Refusal(text);
    EXPECT_EQ(Printable(refusal), refusal);
    EXPECT_LT(refusal.size(), 300u);
  }
}

TEST(JsonText, OtherEncodingsAreNamed) {
  EXPECT_THAT(Refusal(std::string("\xFF\xFE{\0\"\0", 6)),
              AllOf(StartsWith("config.json is UTF-16"), HasSubstr("expected UTF-8")));
  EXPECT_THAT(Refusal(std::string("{\0\"\0a\0\"\0", 8)), StartsWith("config.json is UTF-16"));
}

TEST(JsonText, WhatTheLibraryWouldLetPass) {
  EXPECT_EQ(Refusal(R"({"a": 1, "a": 2})"), "config.json: key \"a\" appears twice in one object");
  EXPECT_THAT(Refusal(std::string(100, '[')), HasSubstr("nested more than 64 deep"));
}

TEST(JsonText, TokensOfBrokenText) {
  const std::string text = R"({"a\"b" :[1.5,x"y)";
  std::vector<std::string> tokens;
  for (size_t at = 0;;) {
    const std::string_view token = NextJsonToken(text, at);
    if (token.empty()) break;
    tokens.emplace_back(token);
    at = static_cast<size_t>(token.data() - text.data()) + token.size();
  }
  EXPECT_THAT(tokens, testing::ElementsAre("{", R"("a\"b")", ":", "[", "1.5", ",", "x", "\"y"));
  EXPECT_EQ(NextJsonToken("\"a\\", 0), "\"a\\");
}

TEST(ShownJson, IsOneShortLine) {
  EXPECT_EQ(ShownJson("a\nb"), "\"a\\nb\"");
  EXPECT_EQ(ShownJson({1, "x"}), "[1,\"x\"]");
  EXPECT_EQ(ShownJson(std::vector<int>(100, 7)).size(), 63u);
  EXPECT_EQ(ShownJson({"\u202e"}), "[\"\\u{202e}\"]");
}

}  // namespace
}  // namespace kvfold
