// The same ids and texts as Hugging Face tokenizers on a corpus of a megabyte
// (scripts/make_tokenizer_fixtures.py, which also says what the files hold).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/tokenizer.h"
#include "models/tokenizer/utf8.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(KVFOLD_FIXTURES) / "tokenizer";

std::string ReadGz(const std::filesystem::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path.string());
  std::string data;
  std::vector<char> part(1 << 16);
  int n = 0;
  while ((n = gzread(file, part.data(), static_cast<unsigned>(part.size()))) > 0) {
    data.append(part.data(), static_cast<size_t>(n));
  }
  gzclose(file);
  if (n < 0) throw std::runtime_error("cannot unpack " + path.string());
  return data;
}

uint64_t Fnv1a(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return hash;
}
uint64_t HashIds(const std::vector<TokenId>& ids) {
  return Fnv1a({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId)});
}

struct Corpus {
  std::string whole = ReadGz(kFixtures / "corpus.txt.gz");
  std::vector<std::string_view> records;

  Corpus() {
    const std::string_view all = whole;
    size_t begin = 0;
    for (size_t end; (end = all.find('\x1E', begin)) != std::string_view::npos; begin = end + 1) {
      records.push_back(all.substr(begin, end - begin));
    }
    records.push_back(all.substr(begin));
  }
};
const Corpus& TheCorpus() {
  static const Corpus corpus;
  return corpus;
}

struct Expected {
  std::vector<uint64_t> ids;      // hash by record
  uint64_t whole = 0;             // of the corpus as one text
  std::vector<uint64_t> decoded;  // hash by record
  std::vector<std::vector<TokenId>> listed;

  explicit Expected(const std::string& name) : data_(ReadGz(kFixtures / (name + ".expected.gz"))) {
    const auto n_records = Take<uint32_t>();
    const auto n_listed = Take<uint32_t>();
    for (uint32_t i = 0; i < n_records; ++i) ids.push_back(Take<uint64_t>());
    whole = Take<uint64_t>();
    for (uint32_t i = 0; i < n_records; ++i) decoded.push_back(Take<uint64_t>());
    for (uint32_t i = 0; i < n_listed; ++i) {
      listed.emplace_back(Take<uint32_t>());
      for (TokenId& id : listed.back()) id = Take<TokenId>();
    }
  }

 private:
  template <typename T>
  T Take() {
    T value;
    std::memcpy(&value, data_.data() + offset_, sizeof(value));
    offset_ += sizeof(value);
    return value;
  }
  std::string data_;
  size_t offset_ = 0;
};

// What a GGUF file holds of a tokenizer.json, with the name of its family under tokenizer.ggml.pre.
std::string GgufOf(const std::filesystem::path& json_path, std::string_view family) {
  std::ifstream file(json_path);
  const auto json = nlohmann::json::parse(file);
  const auto& model = json.at("model");
  constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4;
  std::vector<std::string> tokens(model.at("vocab").size());
  std::vector<int32_t> types;
  for (const auto& [token, id] : model.at("vocab").items()) tokens.at(id.get<size_t>()) = token;
  types.resize(tokens.size(), kNormal);
  for (const auto& added : json.at("added_tokens")) {
    const auto id = added.at("id").get<size_t>();
    if (id >= tokens.size()) {
      tokens.resize(id + 1);
      types.resize(id + 1, kNormal);
    }
    tokens[id] = added.at("content").get<std::string>();
    types[id] = added.at("special").get<bool>() ? kControl : kUserDefined;
  }
  GgufWriter writer;
  writer.String("general.architecture", "llama");
  writer.String("tokenizer.ggml.model", "gpt2");
  writer.String("tokenizer.ggml.pre", family);
  writer.StringArray("tokenizer.ggml.tokens", tokens);
  writer.NumberArray<int32_t>("tokenizer.ggml.token_type", GgufType::kInt32, types);
  writer.StringArray("tokenizer.ggml.merges", model.at("merges").get<std::vector<std::string>>());
  writer.Uint32("tokenizer.ggml.bos_token_id", 1);
  return writer.Bytes();
}

struct Case {
  std::string name;
  std::string variable;  // names the file in the environment; empty: a committed fixture
  bool add_special = false;
  std::string family = {};  // in a GGUF file; empty: not to be written as one
};

class TokenizerCorpus : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    std::filesystem::path path = kFixtures / c.name;
    if (!c.variable.empty()) {
      const char* given = std::getenv(c.variable.c_str());
      if (given == nullptr || *given == 0) {
        GTEST_SKIP() << c.variable << " is not set, so the vocabulary of " << c.name
                     << " is not at hand; scripts/test.sh fetches it.";
      }
      path = given;
    }
    path_ = path;
    tokenizer_ = Tokenizer::Open(path);
  }
  std::filesystem::path path_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerCorpus, EncodesAsHuggingFace) {
  const Expected expected(GetParam().name);
  const auto& records = TheCorpus().records;
  ASSERT_EQ(records.size(), expected.ids.size());
  int64_t n_wrong = 0;
  for (size_t i = 0; i < records.size() && n_wrong < 5; ++i) {
    const std::vector<TokenId> ids = tokenizer_->Encode(records[i], GetParam().add_special);
    if (i < expected.listed.size()) {
      ASSERT_EQ(ids, expected.listed[i]) << "record " << i << ": " << records[i];
    }
    n_wrong += HashIds(ids) != expected.ids[i];
    EXPECT_EQ(HashIds(ids), expected.ids[i]) << "record " << i << ": " << records[i];
  }
}

TEST_P(TokenizerCorpus, EncodesTheWholeAsHuggingFace) {
  const Expected expected(GetParam().name);
  EXPECT_EQ(HashIds(tokenizer_->Encode(TheCorpus().whole, GetParam().add_special)), expected.whole);
}

// Code points [first, last) one after another, `between` before each but the first and `behind`
// each.
std::string Characters(char32_t first, char32_t last, std::string_view between,
                       std::string_view behind) {
  std::string text;
  for (char32_t c = first; c < last; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (!text.empty()) text += between;
    AppendUtf8(text, c);
    text += behind;
  }
  return text;
}

TEST_P(TokenizerCorpus, EncodesEveryCodePointAsHuggingFace) {
  std::ifstream file(kFixtures / "code_points.json");
  const auto sums = nlohmann::json::parse(file).at(GetParam().name).get<std::vector<uint32_t>>();
  ASSERT_EQ(sums.size(), 0x110u);
  for (char32_t first = 0; first < 0x110000; first += 0x1000) {
    uLong sum = crc32(0, nullptr, 0);
    for (char32_t begin = first; begin < first + 0x1000; begin += 0x100) {
      for (const auto& [between, behind] : {std::pair("", ""), {" ", ""}, {"", "\u0301"}}) {
        const std::string text = Characters(begin, begin + 0x100, between, behind);
        const std::vector<TokenId> ids = tokenizer_->Encode(text, GetParam().add_special);
        sum = crc32(sum, reinterpret_cast<const Bytef*>(ids.data()),
                    static_cast<uInt>(ids.size() * sizeof(TokenId)));
      }
    }
    ASSERT_EQ(sum, sums[first / 0x1000]) << fmt::format("from U+{:04X}", uint32_t{first});
  }
}

TEST_P(TokenizerCorpus, DecodesAsHuggingFace) {
  const Expected expected(GetParam().name);
  const auto& records = TheCorpus().records;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::vector<TokenId> ids = tokenizer_->Encode(records[i], GetParam().add_special);
    ASSERT_EQ(Fnv1a(tokenizer_->Decode(ids, true)), expected.decoded[i])
        << "record " << i << ": " << records[i];
  }
}

TEST_P(TokenizerCorpus, StreamsWhatItDecodesInWholeCharacters) {
  for (const std::string_view record : TheCorpus().records) {
    const std::vector<TokenId> ids = tokenizer_->Encode(record, GetParam().add_special);
    StreamDecoder decoder(*tokenizer_);
    std::string streamed;
    for (const TokenId id : ids) {
      const std::string part = decoder.Push(id);
      ASSERT_EQ(FindInvalidUtf8(part), std::string_view::npos) << record;
      streamed += part;
    }
    streamed += decoder.Finish();
    ASSERT_EQ(streamed, tokenizer_->Decode(ids, true)) << record;
  }
}

TEST_P(TokenizerCorpus, GgufOfTheSameVocabularyEncodesTheSame) {
  if (GetParam().family.empty()) GTEST_SKIP() << "no family of GGUF files has this vocabulary";
  const TempFolder folder;
  const auto gguf =
      Tokenizer::Open(folder.Write("tokenizer.gguf", GgufOf(path_, GetParam().family)));
  ASSERT_EQ(gguf->vocab_size(), tokenizer_->vocab_size());
  for (const std::string_view record : TheCorpus().records) {
    const std::vector<TokenId> ids = gguf->Encode(record, false);
    ASSERT_EQ(ids, tokenizer_->Encode(record, false)) << record;
    ASSERT_EQ(gguf->Decode(ids, true), tokenizer_->Decode(ids, true)) << record;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies, TokenizerCorpus,
    testing::Values(Case{"tiny_gpt2", "", true}, Case{"tiny_qwen2", "", true},
                    Case{"smollm2", "KVFOLD_DEMO_MODEL", false},
                    Case{"llama3", "KVFOLD_LLAMA3_TOKENIZER", false, "llama-bpe"},
                    Case{"qwen2", "KVFOLD_QWEN2_TOKENIZER", false, "qwen2"},
                    Case{"tekken", "KVFOLD_TEKKEN_TOKENIZER", false, "tekken"}),
    [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace kvfold
