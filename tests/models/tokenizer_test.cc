// Tokenizer files, right ones and wrong ones, and what a Tokenizer promises.
#include "models/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "comm/error.h"
#include "gguf_writer.h"
#include "temp_folder.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kFixtures = std::filesystem::path(KVFOLD_FIXTURES) / "tokenizer";

Json TinyJson(const std::string& name) {
  std::ifstream file(kFixtures / name / "tokenizer.json");
  return Json::parse(file);
}

class TokenizerFile : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> Open(const Json& json) { return OpenText(json.dump()); }
  std::unique_ptr<Tokenizer> OpenText(const std::string& text) {
    return Tokenizer::Open(folder_.Write("tokenizer.json", text));
  }
  void Refuses(const std::string& text, const std::string& why) {
    EXPECT_THAT([&] { OpenText(text); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(why), HasSubstr("tokenizer.json"))));
  }
  // As tiny_gpt2, but with `value` at `pointer`.
  void RefusesWith(const std::string& pointer, const Json& value, const std::string& why) {
    Json json = TinyJson("tiny_gpt2");
    json[Json::json_pointer(pointer)] = value;
    SCOPED_TRACE(pointer);
    Refuses(json.dump(), why);
  }
  TempFolder folder_;
};

TEST_F(TokenizerFile, EncodesAndDecodes) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "tiny_gpt2");
  EXPECT_THAT(tokenizer->Encode("", false), ElementsAre());
  EXPECT_THAT(tokenizer->Encode("", true), ElementsAre(0, 1));
  const std::vector<TokenId> ids = tokenizer->Encode("a<|im_start|>b", true);
  EXPECT_EQ(tokenizer->TokenToId("<|im_start|>"), 2);
  EXPECT_EQ(tokenizer->TokenToId("no such token"), -1);
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|begin|>a<|im_start|>b<|end|>");
  EXPECT_EQ(tokenizer->Decode(ids, true), "ab");
  EXPECT_EQ(tokenizer->TokenBytes(2, true), "");
  EXPECT_EQ(tokenizer->TokenBytes(2, false), "<|im_start|>");
  EXPECT_EQ(tokenizer->vocab_size(), 1006);
  // A model may have rows that its tokenizer has not.
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{-1, 1006, 1 << 30}, false), "");
}

TEST_F(TokenizerFile, NamesTheByteThatIsNotUtf8) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "tiny_gpt2");
  EXPECT_THAT(
      [&] { tokenizer->Encode("abc\xFF", false); },
      ThrowsMessage<InputError>(AllOf(HasSubstr("not UTF-8 at byte 3"), HasSubstr("0xff"))));
  EXPECT_THAT([&] { tokenizer->Encode("\xED\xA0\x80", false); },
              ThrowsMessage<InputError>(HasSubstr("at byte 0")));
}

TEST_F(TokenizerFile, StreamsAnyTokensInWholeCharacters) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "tiny_gpt2");
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<TokenId> ids;
    for (int i = 0; i < 12; ++i) ids.push_back(static_cast<TokenId>(4 + random() % 300));
    StreamDecoder decoder(*tokenizer);
    std::string streamed;
    for (const TokenId id : ids) streamed += decoder.Push(id);
    streamed += decoder.Finish();
    ASSERT_EQ(streamed, tokenizer->Decode(ids, true)) << "round " << round;
    EXPECT_EQ(decoder.Finish(), "");
  }
}

TEST_F(TokenizerFile, IsUsedBySeveralThreads) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "tiny_qwen2");
  std::string text;
  for (int i = 0; i < 3000; ++i)
    text += "Stra\u00dfe e\u0301t\u00e9 12 <|im_end|> " + std::to_string(i * i);
  const std::vector<TokenId> want = tokenizer->Encode(text, true);
  std::vector<std::vector<TokenId>> got(4);
  std::vector<std::thread> threads;
  for (auto& ids : got) threads.emplace_back([&] { ids = tokenizer->Encode(text, true); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& ids : got) EXPECT_EQ(ids, want);
}

// A quadratic merge would take hours here.
TEST_F(TokenizerFile, EncodesOneWordOfAMegabyte) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "tiny_gpt2");
  for (const char c : {'a', ' ', '=', '<', '\n'}) {
    const std::string text(1 << 20, c);
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, false), false), text) << c;
  }
}

TEST_F(TokenizerFile, TakesMergesAsPairsOrAsStrings) {
  Json pairs = TinyJson("tiny_gpt2");
  Json strings = pairs;
  for (Json& merge : strings["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const std::string text = "The river was higher than anyone could remember.";
  EXPECT_EQ(Open(pairs)->Encode(text, false), Open(strings)->Encode(text, false));
}

TEST_F(TokenizerFile, RefusesSentencePieceAndOtherModels) {
  const std::string sentence_piece =
      "SentencePiece vocabulary, which is not supported yet; the model runs by token ids";
  RefusesWith("/model/type", "Unigram", sentence_piece);
  RefusesWith("/model/byte_fallback", true, sentence_piece);
  RefusesWith("/model/type", "WordPiece", "model.type is \"WordPiece\", expected \"BPE\"");
  TempFolder folder;
  folder.Write("tokenizer.model", "\n\x0e\n\5<unk>");
  EXPECT_THAT([&] { Tokenizer::Open(folder.path()); },
              ThrowsMessage<InputError>(HasSubstr("SentencePiece")));
}

TEST_F(TokenizerFile, RefusesPartsByName) {
  RefusesWith("/normalizer", {{"type", "Lowercase"}}, "normalizer is of type \"Lowercase\"");
  RefusesWith("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}},
              "normalizer.normalizers[0] is of type \"NFKC\"");
  RefusesWith("/pre_tokenizer", {{"type", "Whitespace"}},
              "pre_tokenizer is of type \"Whitespace\"");
  RefusesWith("/pre_tokenizer", nullptr, "no ByteLevel step");
  RefusesWith("/pre_tokenizer/typo", 1, "has the field \"typo\"");
  RefusesWith("/pre_tokenizer/use_regex", 1, "use_regex is 1, expected true or false");
  const Json byte_level = TinyJson("tiny_gpt2")["pre_tokenizer"];
  const auto split = [](Json pattern, Json behavior) {
    return Json{{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", false}};
  };
  const auto sequence = [&](Json steps) {
    return Json{{"type", "Sequence"}, {"pretokenizers", steps}};
  };
  RefusesWith("/pre_tokenizer", sequence({byte_level, byte_level}), "[1] follows ByteLevel");
  RefusesWith("/pre_tokenizer", sequence({split({{"Regex", "a$"}}, "Isolated"), byte_level}),
              "a line anchor");
  RefusesWith("/pre_tokenizer", sequence({split({{"Regex", "(a"}}, "Isolated"), byte_level}),
              "cannot be compiled");
  RefusesWith("/pre_tokenizer", sequence({split({{"Regex", "a"}}, "Eaten"), byte_level}),
              "behavior is \"Eaten\"");
  RefusesWith("/post_processor", {{"type", "BertProcessing"}}, "\"BertProcessing\"");
  RefusesWith("/post_processor/single/1/Sequence/id", "B", "the sequence A, once");
  RefusesWith("/post_processor/special_tokens/<|end|>/ids/0", 5000, "token id 5000");
  RefusesWith("/decoder", {{"type", "WordPiece"}}, "decoder is of type \"WordPiece\"");
  RefusesWith("/decoder", nullptr, "decoder is null");
  RefusesWith("/model/dropout", 0.1, "model.dropout is 0.1");
  RefusesWith("/model/end_of_word_suffix", "</w>", "end_of_word_suffix is \"</w>\"");
  RefusesWith("/model/unk_token", "nowhere", "unk_token is \"nowhere\"");
}

TEST_F(TokenizerFile, RefusesWrongVocabulariesAndMerges) {
  RefusesWith("/model/vocab", Json::array(), "model.vocab is [], expected an object");
  RefusesWith("/model/vocab/a", "7", "model.vocab.a is \"7\", expected an id from 0 to 16777215");
  RefusesWith("/model/vocab/a", -1, "model.vocab.a is -1");
  RefusesWith("/model/vocab/a", 1 << 24, "model.vocab.a is 16777216");
  RefusesWith("/model/vocab/a", 1.5, "model.vocab.a is 1.5");
  RefusesWith("/model/vocab/a", 5, "have id 5");
  RefusesWith("/model/merges", 3, "model.merges is 3, expected an array");
  RefusesWith("/model/merges/0", {"a", "nowhere"}, "merge 0 needs token \"nowhere\"");
  RefusesWith("/model/merges/0", {"zq", "zq"}, "merge 0 needs token");
  RefusesWith("/model/merges/0", "a b c", "two tokens with one space");
  RefusesWith("/model/merges/0", {"a"}, "merges[0] is [\"a\"], expected");
  RefusesWith("/added_tokens/0/id", 77, "has id 77, expected 0");
  RefusesWith("/added_tokens/5/id", 2000, "has id 2000, expected 1000");
  RefusesWith("/added_tokens/0/special", 1, "special is 1, expected true or false");
  Json twice = TinyJson("tiny_gpt2")["added_tokens"][0];
  twice["id"] = 1;
  RefusesWith("/added_tokens/1", twice, "has id 1, expected 0");
  RefusesWith("/added_tokens/4/content", std::string(5000, 'x'), "5000 bytes long");
  RefusesWith("/added_tokens", 3, "added_tokens is 3");
}

TEST_F(TokenizerFile, RefusesWhatIsNoTokenizer) {
  Refuses("", "an empty file");
  Refuses("{", "not valid JSON");
  Refuses("[]", "expected a JSON object");
  Refuses("{}", "model is missing, expected an object");
  Refuses("[\"\xFF\"]", "not valid JSON");
  Refuses(std::string(100'000, '['), "nested more than 64 deep");
  EXPECT_THAT([&] { Tokenizer::Open(folder_.path() / "nowhere"); }, testing::Throws<InputError>());
  TempFolder empty;
  EXPECT_THAT([&] { Tokenizer::Open(empty.path()); },
              ThrowsMessage<InputError>(HasSubstr("has no tokenizer.json")));
}

// Every cut of a file ends in a sentence or in a tokenizer, never in a crash.
TEST_F(TokenizerFile, SurvivesCutAndMutatedFiles) {
  const std::string whole = TinyJson("tiny_qwen2").dump();
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::string text = whole;
    if (round % 3 == 0) text.resize(random() % text.size());
    for (int i = 0; i < 3 && !text.empty(); ++i)
      text[random() % text.size()] = static_cast<char>("{}[]\",:019ax\\ \xC3"[random() % 15]);
    try {
      OpenText(text)->Encode("Hello <|im_start|> \u00e9 123", true);
    } catch (const InputError&) {
    }
  }
}

// The vocabulary of tiny_gpt2 in a GGUF file.
GgufWriter TinyGguf(std::string_view pre, std::vector<std::string>* texts = nullptr) {
  const Json json = TinyJson("tiny_gpt2");
  std::vector<std::string> tokens(json["model"]["vocab"].size()), merges;
  for (const auto& [text, id] : json["model"]["vocab"].items()) tokens[id.get<size_t>()] = text;
  for (const Json& merge : json["model"]["merges"]) {
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  std::vector<int32_t> types(tokens.size(), 1);
  std::fill_n(types.begin(), 4, 3);
  types.push_back(4);
  tokens.push_back("<tool>");
  if (texts != nullptr) *texts = tokens;
  GgufWriter writer;
  writer.String("tokenizer.ggml.model", "gpt2");
  writer.String("tokenizer.ggml.pre", pre);
  writer.StringArray("tokenizer.ggml.tokens", tokens);
  writer.StringArray("tokenizer.ggml.merges", merges);
  writer.NumberArray<int32_t>("tokenizer.ggml.token_type", GgufType::kInt32, types);
  writer.Uint32("tokenizer.ggml.bos_token_id", 0);
  writer.Uint32("tokenizer.ggml.eos_token_id", 1);
  return writer;
}

class TokenizerGguf : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> Open(const GgufWriter& writer) {
    return Tokenizer::Open(folder_.Write("model.gguf", writer.Bytes()));
  }
  void Refuses(const GgufWriter& writer, const std::string& why) {
    EXPECT_THAT([&] { Open(writer); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(why), HasSubstr("model.gguf"))));
  }
  TempFolder folder_;
};

TEST_F(TokenizerGguf, ReadsEachFamily) {
  const auto texts = [](const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::string> out;
    for (const TokenId id : tokenizer.Encode(text, true))
      out.emplace_back(tokenizer.TokenBytes(id, false));
    return out;
  };
  const std::string text = "q 12<tool>";
  EXPECT_THAT(texts(*Open(TinyGguf("gpt-2")), text), testing::Not(testing::Contains("<|begin|>")));
  EXPECT_THAT(texts(*Open(TinyGguf("smollm")), text), ElementsAre("q", " ", "1", "2", "<tool>"));
  EXPECT_EQ(texts(*Open(TinyGguf("llama-bpe")), text).front(), "<|begin|>");
  EXPECT_THAT(texts(*Open(TinyGguf("qwen2")), "q12"), ElementsAre("q", "1", "2"));
  EXPECT_EQ(Open(TinyGguf("qwen2"))->Encode("e\u0301", false),
            Open(TinyGguf("qwen2"))->Encode("\u00e9", false));
  EXPECT_NE(Open(TinyGguf("gpt-2"))->Encode("e\u0301", false),
            Open(TinyGguf("gpt-2"))->Encode("\u00e9", false));
  const auto tokenizer = Open(TinyGguf("gpt-2"));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("<|im_start|><tool>", false), true), "<tool>");
}

TEST_F(TokenizerGguf, EncodesAsTheSameVocabularyInJson) {
  const auto json = Tokenizer::Open(kFixtures / "tiny_gpt2");
  const auto gguf = Open(TinyGguf("gpt-2"));
  const std::string text = "It's 2026, <|im_start|>\n\n  \u4f60\u597d   x";
  EXPECT_EQ(gguf->Encode(text, false), json->Encode(text, false));
}

TEST_F(TokenizerGguf, AddsWhatTheFileSaysToAdd) {
  GgufWriter with_bos = TinyGguf("gpt-2");
  with_bos.Bool("tokenizer.ggml.add_bos_token", true);
  with_bos.Bool("tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(Open(with_bos)->Encode("", true), ElementsAre(0, 1));
  EXPECT_THAT(Open(with_bos)->Encode("", false), ElementsAre());
  GgufWriter without = TinyGguf("llama-bpe");
  without.Bool("tokenizer.ggml.add_bos_token", false);
  EXPECT_THAT(Open(without)->Encode("", true), ElementsAre());
}

TEST_F(TokenizerGguf, RefusesWhatItCannotRead) {
  GgufWriter sentence_piece;
  sentence_piece.String("tokenizer.ggml.model", "llama");
  Refuses(sentence_piece,
          "SentencePiece vocabulary, which is not supported yet; the model runs by token ids");
  GgufWriter other;
  other.String("tokenizer.ggml.model", "bert");
  Refuses(other, "tokenizer.ggml.model is \"bert\", expected \"gpt2\"");
  Refuses(GgufWriter(), "tokenizer.ggml.model");
  Refuses(TinyGguf("default"), "tokenizer.ggml.pre is \"default\"");
  GgufWriter no_pre;
  no_pre.String("tokenizer.ggml.model", "gpt2");
  Refuses(no_pre, "tokenizer.ggml.pre is missing");

  const auto with = [](std::vector<std::string> tokens, std::vector<std::string> merges,
                       std::vector<int32_t> types) {
    GgufWriter writer;
    writer.String("tokenizer.ggml.model", "gpt2");
    writer.String("tokenizer.ggml.pre", "gpt-2");
    writer.StringArray("tokenizer.ggml.tokens", tokens);
    writer.StringArray("tokenizer.ggml.merges", merges);
    writer.NumberArray<int32_t>("tokenizer.ggml.token_type", GgufType::kInt32, types);
    return writer;
  };
  EXPECT_THAT(Open(with({"a", "b", "ab"}, {"a b"}, {1, 1, 1}))->Encode("abb", true),
              ElementsAre(2, 1));
  Refuses(with({}, {}, {}), "has 0 tokens");
  Refuses(with({"a"}, {}, {1, 1}), "token_type has 2 entries, expected 1");
  Refuses(with({"a", "a"}, {}, {1, 1}), "is in the vocabulary twice");
  Refuses(with({"\xFF"}, {}, {1}), "expected UTF-8");
  Refuses(with({"a"}, {"a"}, {1}), "merges[0] is \"a\"");
  Refuses(with({"a"}, {"a a"}, {1}), "merge 0 needs token \"aa\"");
  GgufWriter no_bos = with({"a"}, {}, {1});
  no_bos.Bool("tokenizer.ggml.add_bos_token", true);
  Refuses(no_bos, "tokenizer.ggml.bos_token_id");
  no_bos.Uint32("tokenizer.ggml.bos_token_id", 1);
  Refuses(no_bos, "bos_token_id is 1, expected a token id below 1");
}

}  // namespace
}  // namespace kvfold
