// Where a generation ends: the ids of a GGUF file, and the end of an assistant's turn as chat
// templates write it.
#include "models/tokenizer/control_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf_writer.h"
#include "models/chat/turn_end.h"
#include "models/chat_template.h"
#include "temp_folder.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ControlTokens : public testing::Test {
 protected:
  static GgufWriter Writer(const std::vector<std::string>& tokens,
                           const std::vector<int32_t>& types,
                           const std::vector<std::string>& merges = {}) {
    GgufWriter writer;
    writer.String("tokenizer.ggml.model", "gpt2");
    writer.String("tokenizer.ggml.pre", "gpt-2");
    writer.StringArray("tokenizer.ggml.tokens", tokens);
    writer.StringArray("tokenizer.ggml.merges", merges);
    if (!types.empty())
      writer.NumberArray<int32_t>("tokenizer.ggml.token_type", GgufType::kInt32, types);
    return writer;
  }
  std::vector<int64_t> Ends(const GgufWriter& writer, int64_t vocab_size = 100) const {
    return EndOfGenerationIds(GgufFile(folder_.Write("model.gguf", writer.Bytes())), vocab_size);
  }
  TempFolder folder_;
};

// The file of a Qwen2.5 base model: one eos by key, and what its texts say.
TEST_F(ControlTokens, EndsAreThoseOfLlamaCpp) {
  GgufWriter writer = Writer({"a", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>",
                              "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_call>"},
                             {1, 3, 3, 3, 3, 3, 3, 3, 4});
  EXPECT_THAT(Ends(writer), ElementsAre(1, 3, 5, 6, 7));
  writer.Uint32("tokenizer.ggml.eos_token_id", 3);
  EXPECT_THAT(Ends(writer), ElementsAre(3, 1, 5, 6, 7));
  writer.Uint32("tokenizer.ggml.eot_token_id", 2);
  writer.Uint32("tokenizer.ggml.eom_token_id", 0xFFFFFFFF);  // some converters' "none"
  writer.Uint32("tokenizer.ggml.fim_pad_token_id", 8);       // comes before the text
  EXPECT_THAT(Ends(writer), ElementsAre(3, 2, 8, 1, 6, 7));
  EXPECT_THAT(Ends(writer, 6), ElementsAre(3, 2, 8, 1));  // the model cannot say the others
  EXPECT_THAT(Ends(GgufWriter()), IsEmpty());
}

TEST_F(ControlTokens, EveryTextThatEndsIsKnown) {
  for (const std::string text :
       {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
        "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "</s>", "<|return|>", "<|call|>",
        "<end_of_utterance>", "<\uff5cend\u2581of\u2581sentence\uff5c>"}) {
    EXPECT_THAT(Ends(Writer({"a", text}, {1, 3})), ElementsAre(1)) << text;
  }
  for (const std::string text : {"<|im_start|>", "<s>", "<think>", "<|end", ""})
    EXPECT_THAT(Ends(Writer({"a", text}, {1, 3})), IsEmpty()) << text;
}

TEST_F(ControlTokens, EndIsInnerWhereOthersEndTheTurn) {
  EXPECT_THAT(Ends(Writer({"<|end|>", "<|return|>", "<|call|>"}, {3, 3, 3})), ElementsAre(1, 2));
  EXPECT_THAT(Ends(Writer({"<|end|>", "<|flush|>", "<|calls|>"}, {3, 3, 3})), ElementsAre(1, 2));
  EXPECT_THAT(Ends(Writer({"<|end|>", "<|return|>"}, {3, 3})), ElementsAre(0, 1));
}

// Files call control tokens ordinary; ordinary ones look like control tokens.
TEST_F(ControlTokens, TypesAreDoubted) {
  const std::vector<std::string> tokens = {"<", "/", "s", ">", "</", "s>", "</s>", "<|im_end|>"};
  const std::vector<std::string> merges = {"< /", "s >", "</ s>"};
  EXPECT_THAT(Ends(Writer(tokens, std::vector<int32_t>(8, 1), merges)), ElementsAre(7));
  EXPECT_THAT(Ends(Writer(tokens, {}, merges)), ElementsAre(7));
  EXPECT_THAT(Ends(Writer(tokens, {1, 1, 1, 1, 1, 1, 3, 4}, merges)), ElementsAre(6, 7));
  const auto tokenizer = Tokenizer::Open(
      folder_.Write("model.gguf", Writer(tokens, std::vector<int32_t>(8, 1), merges).Bytes()));
  EXPECT_THAT(tokenizer->Encode("s<|im_end|></s>", false), ElementsAre(2, 7, 4, 2, 3));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{2, 7, 6}, true), "s</s>");
}

TEST_F(ControlTokens, SurvivesArraysOfOtherKinds) {
  GgufWriter writer;
  writer.String("tokenizer.ggml.tokens", "none");
  writer.Uint32("tokenizer.ggml.token_type", 3);
  writer.Uint32("tokenizer.ggml.eos_token_id", 3);
  EXPECT_THAT(Ends(writer), ElementsAre(3));
}

// No text becomes a placeholder whose text another token has.
TEST_F(ControlTokens, PlaceholdersMayShareTheirText) {
  const auto tokenizer = Tokenizer::Open(folder_.Write(
      "model.gguf", Writer({"<unused>", "a", "b", "ab", "<unused>", "ab", "", "", "<unused>"},
                           {5, 1, 1, 1, 5, 5, 1, 1, 5}, {"a b"})
                        .Bytes()));
  EXPECT_EQ(tokenizer->vocab_size(), 9);
  EXPECT_THAT(tokenizer->Encode("abb", false), ElementsAre(3, 2));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{0, 5, 4, 6, 8}, true),
            "<unused>ab<unused><unused>");
  EXPECT_EQ(tokenizer->TokenToId("ab"), 3);
}

class TurnEnd : public ControlTokens {
 protected:
  std::vector<TokenId> Of(const std::string& source) const {
    const std::vector<std::string> tokens = {"a", "<|im_start|>", "<|im_end|>", "</s>", "<|user|>"};
    const auto path = folder_.Write("model.gguf", Writer(tokens, {1, 3, 3, 3, 4}).Bytes());
    return TurnEndIds(path, *ChatTemplate::Parse(source, {{"eos_token", "</s>"}}),
                      *Tokenizer::Open(path));
  }
};

TEST_F(TurnEnd, IsWhatStandsBehindAnAnswer) {
  const std::string loop = "{% for m in messages %}", end = "{% endfor %}";
  EXPECT_THAT(Of(loop + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n" + end),
              ElementsAre(2));
  EXPECT_THAT(Of(loop +
                 "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}"
                 " {{ m.content }} {{ eos_token }}{% endif %}" +
                 end),
              ElementsAre(3));
  // Only before another turn, or only without one.
  EXPECT_THAT(Of(loop + "{{ m.content }}{% if not loop.last %}<|im_end|>{% endif %}" + end),
              ElementsAre(2));
  EXPECT_THAT(Of("{% if messages|length > 2 %}{{ raise_exception('no') }}{% endif %}" + loop +
                 "{{ m.content }}<|im_end|>" + end),
              ElementsAre(2));
  // The next turn's beginning, where nothing else ends this one.
  EXPECT_THAT(Of(loop + "<|{{ m.role }}|>\n{{ m.content }}" + end), ElementsAre(4));
  EXPECT_THAT(Of(loop + "{{ m.role }}: {{ m.content }}\n" + end), IsEmpty());
  EXPECT_THAT(Of(loop + "{{ m.content | upper }}<|im_end|>" + end), IsEmpty());
  EXPECT_THAT(Of("{{ raise_exception('never') }}"), IsEmpty());
}

TEST_F(TurnEnd, AFoldersEosTokenEndsAChatToo) {
  TempFolder folder;
  folder.Write("tokenizer.json", R"({"added_tokens": [{"id": 0, "content": "<|im_end|>",
      "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
      "special": true}], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
      "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {}, "merges": []}})");
  folder.Write("tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  const auto chat = ChatTemplate::Parse("{{ messages[0].content }}", {});
  EXPECT_THAT(TurnEndIds(folder.path(), *chat, *Tokenizer::Open(folder.path())), ElementsAre(0));
}

}  // namespace
}  // namespace kvfold
