// Added tokens that stand in several files of a folder, against transformers
// (scripts/make_tokenizer_folders.py), and what must be refused.
#include "models/tokenizer/folder_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "models/tokenizer/tokenizer.h"
#include "temp_folder.h"

namespace kvfold {
namespace {

using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Json& Fixture() {
  static const Json fixture = [] {
    std::ifstream file(std::filesystem::path(KVFOLD_FIXTURES) / "tokenizer" / "folders.json");
    return Json::parse(file);
  }();
  return fixture;
}

void Write(const TempFolder& folder, const Json& added_tokens, const Json& files) {
  Json tokenizer = Fixture()["tokenizer.json"];
  tokenizer["added_tokens"] = added_tokens;
  folder.Write("tokenizer.json", tokenizer.dump());
  for (const auto& [name, content] : files.items()) folder.Write(name, content.dump());
}

TEST(FolderTokens, AreThoseOfTransformers) {
  EXPECT_GT(Fixture()["cases"].size(), 50u);
  for (const Json& item : Fixture()["cases"]) {
    SCOPED_TRACE(item["name"]);
    const TempFolder folder;
    Write(folder, item["added_tokens"], item["files"]);
    std::unique_ptr<Tokenizer> tokenizer;
    ASSERT_NO_THROW(tokenizer = Tokenizer::Open(folder.path()));
    for (const Json& text : item["texts"]) {
      const std::vector<TokenId> ids = tokenizer->Encode(text["text"].get<std::string>(), true);
      EXPECT_EQ(ids, text["ids"].get<std::vector<TokenId>>()) << text["text"];
      EXPECT_EQ(tokenizer->Decode(ids, true), text["decoded"].get<std::string>()) << text["text"];
    }
  }
}

TEST(FolderTokens, OneFileAloneIsReadAlone) {
  const TempFolder folder;
  Write(folder, Json::array(), {{"tokenizer_config.json", {{"eos_token", "<|b|>"}}}});
  EXPECT_EQ(Tokenizer::Open(folder.path())->TokenToId("<|b|>"), 265);
  EXPECT_EQ(Tokenizer::Open(folder.path() / "tokenizer.json")->TokenToId("<|b|>"), -1);
}

Json Token(const std::string& content) { return {{"content", content}, {"special", true}}; }

TEST(FolderTokens, RefusesWhatWouldBeTwoVocabularies) {
  const auto refuses = [](const Json& files, const std::string& why) {
    const TempFolder folder;
    Write(folder, Json::array(), files);
    EXPECT_THAT([&] { Tokenizer::Open(folder.path()); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(why), HasSubstr(folder.path().string()))))
        << files;
  };
  const auto config = [](const char* key, Json value) {
    return Json{{"tokenizer_config.json", {{key, std::move(value)}}}};
  };
  refuses(config("added_tokens_decoder", {{"270", Token("<|b|>")}}),
          "tokenizer_config.json: added_tokens_decoder.270: added token \"<|b|>\" has id 270, "
          "expected 265");
  refuses(config("added_tokens_decoder", {{"5", Token("<|b|>")}}), "has id 5, expected 265");
  refuses(config("added_tokens_decoder", {{"7", Token("hello")}}), "has id 7, expected 259");
  refuses(config("added_tokens_decoder", {{"x", Token("<|b|>")}}), "has the key \"x\"");
  refuses(config("added_tokens_decoder", {{"-1", Token("<|b|>")}}), "has the key \"-1\"");
  refuses(config("added_tokens_decoder", {{"265", "<|b|>"}}), "expected an object");
  refuses(config("added_tokens_decoder", {{"265", {{"content", 3}}}}), "content is 3");
  refuses(config("added_tokens_decoder", {{"265", {{"content", "b"}, {"lstrip", 1}}}}),
          "lstrip is 1");
  refuses(config("eos_token", 3), "eos_token is 3");
  refuses(config("additional_special_tokens", 3), "additional_special_tokens is 3");
  refuses(config("split_special_tokens", true), "split_special_tokens is true");
  refuses(Json{{"added_tokens.json", {{"<|b|>", 300}}}}, "has id 300, expected 265");
  refuses(Json{{"added_tokens.json", {{"<|b|>", "x"}}}}, "expected a whole number");
  refuses(Json{{"special_tokens_map.json", {{"eos_token", 3}}}}, "eos_token is 3");
  refuses(Json{{"special_tokens_map.json", Json::array()}}, "is no JSON object");
  // Classes of their own put a space before a text, or do not, whatever tokenizer.json says.
  refuses(Json{{"tokenizer_config.json",
                {{"tokenizer_class", "GPT2TokenizerFast"}, {"add_prefix_space", true}}}},
          "add_prefix_space is false, expected true");
  refuses(Json{{"tokenizer_config.json", {{"add_prefix_space", true}}},
               {"config.json", {{"model_type", "qwen2"}}}},
          "add_prefix_space is false, expected true");
}

}  // namespace
}  // namespace kvfold
