// Prompt lines to token ids: what goes before what, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/error.h"
#include "runtime/jobs/prompt_encoder.h"
#include "tests/models/error_of.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr TokenId kBegin = 1000;

// A token is a byte; kBegin comes before a text that wants special tokens.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(std::string_view text, bool add_special) const override {
    std::vector<TokenId> ids;
    if (add_special) ids.push_back(kBegin);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(std::span<const TokenId>, bool) const override { return ""; }
  std::string_view TokenBytes(TokenId, bool) const override { return ""; }
  int64_t vocab_size() const override { return kBegin + 1; }
  TokenId TokenToId(std::string_view) const override { return -1; }
};

class BracketTemplate : public ChatTemplate {
 public:
  std::string Render(std::span<const ChatMessage> messages) const override {
    std::string text;
    for (const ChatMessage& message : messages)
      text += "<" + message.role + ":" + message.content + ">";
    return text + "<assistant:";
  }
};

class PromptEncoderTest : public testing::Test {
 protected:
  // The text behind the ids, "^" for kBegin.
  static std::string Text(const std::vector<TokenId>& ids) {
    std::string text;
    for (const TokenId id : ids) text += id == kBegin ? '^' : static_cast<char>(id);
    return text;
  }
  std::string Encoded(const PromptLine& line, bool chat, const std::string& document = "") const {
    return Text(PromptEncoder(&tokenizer_, "", &template_, "", chat).Encode(line, document));
  }

  ByteTokenizer tokenizer_;
  BracketTemplate template_;
};

TEST_F(PromptEncoderTest, PromptIsEncodedWithSpecialTokens) {
  EXPECT_EQ(Encoded({.prompt = "Why?"}, false), "^Why?");
  EXPECT_EQ(Encoded({.prompt = ""}, false), "^");
}

TEST_F(PromptEncoderTest, DocumentAndABlankLineComeFirst) {
  EXPECT_EQ(Encoded({.prompt = "Why?", .document = "d.txt"}, false, "Once."), "^Once.\n\nWhy?");
  // A document that is not named is not put before anything.
  EXPECT_EQ(Encoded({.prompt = "Why?"}, false, "Once."), "^Why?");
}

TEST_F(PromptEncoderTest, ChatIsOneUserTurnWithoutSpecialTokens) {
  EXPECT_EQ(Encoded({.prompt = "Why?"}, true), "<user:Why?><assistant:");
  EXPECT_EQ(Encoded({.prompt = "Why?", .document = "d.txt"}, true, "Once."),
            "<user:Once.\n\nWhy?><assistant:");
}

TEST_F(PromptEncoderTest, MessagesAreRenderedWithTheDocumentInTheFirstUserTurn) {
  const std::vector<ChatMessage> messages = {
      {"system", "S"}, {"user", "A"}, {"assistant", "B"}, {"user", "C"}};
  for (const bool chat : {false, true}) {
    EXPECT_EQ(Encoded({.messages = messages}, chat),
              "<system:S><user:A><assistant:B><user:C><assistant:");
    EXPECT_EQ(Encoded({.messages = messages, .document = "d.txt"}, chat, "Once."),
              "<system:S><user:Once.\n\nA><assistant:B><user:C><assistant:");
  }
  EXPECT_THAT(ErrorOf([&] {
                Encoded({.messages = std::vector<ChatMessage>{{"system", "S"}}, .document = "d"},
                        true, "Once.");
              }),
              HasSubstr("has none"));
}

// What a name would do to the text is the template's affair: where it may read one, it is refused.
TEST_F(PromptEncoderTest, NamesAreIgnoredOnlyWhereNoTemplateReadsThem) {
  const std::vector<ChatMessage> messages = {{"user", "A"}};
  EXPECT_THAT(ErrorOf([&] { Encoded({.messages = messages, .name = "bob"}, false); }),
              HasSubstr("name \"bob\""));
  const auto of = [&](const std::string& source) {
    const auto known = ChatTemplate::Parse(source, {});
    const PromptEncoder encoder(&tokenizer_, "", known.get(), "", false);
    return ErrorOf([&] { encoder.Encode({.messages = messages, .name = "bob"}, ""); });
  };
  const std::string chatml =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
      "{{ '<|im_start|>assistant\\n' }}{% endif %}";
  EXPECT_EQ(of(chatml), "");
  EXPECT_THAT(of("{% if false %}{{ message.name }}{% endif %}" + chatml), HasSubstr("\"bob\""));
  EXPECT_THAT(of("{% if false %}{{ message['name'] }}{% endif %}" + chatml), HasSubstr("\"bob\""));
  EXPECT_EQ(of("{% if false %}{{ tool_call.name }}{% endif %}" + chatml), "");
}

TEST_F(PromptEncoderTest, TokensGoAsTheyAre) {
  const std::vector<TokenId> tokens = {5, 6, 7};
  const PromptEncoder without(nullptr, "no tokenizer", nullptr, "no template", true);
  EXPECT_THAT(without.Encode({.tokens = tokens}, ""), ElementsAre(5, 6, 7));
  EXPECT_THAT(ErrorOf([&] { without.Encode({.tokens = tokens, .document = "d.txt"}, "Once."); }),
              HasSubstr("\"document\""));
}

TEST_F(PromptEncoderTest, WhatAModelLacksIsSaidInItsOwnWords) {
  const std::vector<ChatMessage> messages = {{"user", "A"}};
  const PromptEncoder no_tokenizer(nullptr, "tokenizer.json is missing", &template_, "", false);
  EXPECT_EQ(ErrorOf([&] { no_tokenizer.Encode({.prompt = "Why?"}, ""); }),
            "tokenizer.json is missing");
  EXPECT_EQ(ErrorOf([&] { no_tokenizer.Encode({.messages = messages}, ""); }),
            "tokenizer.json is missing");
  for (const bool chat : {false, true}) {
    const PromptEncoder no_template(&tokenizer_, "", nullptr, "no template: use --prompt", chat);
    EXPECT_EQ(ErrorOf([&] { no_template.Encode({.messages = messages}, ""); }),
              "no template: use --prompt");
    EXPECT_EQ(ErrorOf([&] { no_template.Encode({.prompt = "Why?"}, ""); }),
              chat ? "no template: use --prompt" : "");
  }
}

}  // namespace
}  // namespace kvfold
