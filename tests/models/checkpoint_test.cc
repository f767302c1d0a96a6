// Checkpoints against what the formats' own tools wrote and read back
// (tests/fixtures/checkpoint/make.py), and files that lie.
#include "models/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <sstream>

#include "models/checkpoint/ggml_type.h"
#include "models/checkpoint/half.h"
#include "models/tensor_table.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/temp_folder.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::filesystem::path kFixtures = std::filesystem::path(KVFOLD_FIXTURES) / "checkpoint";

std::string FileBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

std::vector<float> ReadAll(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<float> values(tensor.rows * tensor.cols);
  checkpoint.ReadBlock(tensor, 0, tensor.rows, 0, tensor.cols, values.data());
  return values;
}

// The bits of infinity times zero are the processor's own; the fixtures have this one.
void UnifyNan(std::vector<float>& values) {
  for (float& value : values) {
    if (std::isnan(value)) value = std::numeric_limits<float>::quiet_NaN();
  }
}

// Every tensor that make.py lists, bit for bit.
void ExpectFixture(const Checkpoint& checkpoint, const std::string& stem) {
  const std::string data = FileBytes(kFixtures / (stem + ".f32"));
  std::ifstream names(kFixtures / (stem + ".txt"));
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  size_t offset = 0;
  size_t n_tensors = 0;
  while (names >> name >> rows >> cols) {
    const TensorInfo& tensor = checkpoint.Expect(name, rows, cols);
    std::vector<float> want(rows * cols);
    ASSERT_LE(offset + want.size() * sizeof(float), data.size());
    std::memcpy(want.data(), data.data() + offset, want.size() * sizeof(float));
    offset += want.size() * sizeof(float);
    std::vector<float> got = ReadAll(checkpoint, tensor);
    UnifyNan(got);
    EXPECT_TRUE(SameBits(got, want)) << name;
    ++n_tensors;
  }
  EXPECT_EQ(offset, data.size());
  EXPECT_EQ(checkpoint.tensors().size(), n_tensors);
}

TEST(GgufCheckpoint, EqualsGgufPyBitForBit) {
  ExpectFixture(*Checkpoint::Open(kFixtures / "mixed.gguf"), "mixed.gguf");
}

// All bits of every quantised type, and scales of every kind.
TEST(GgufCheckpoint, RandomBlocksEqualGgufPyBitForBit) {
  ExpectFixture(*Checkpoint::Open(kFixtures / "blocks.gguf"), "blocks.gguf");
}

// A slip in one number of a grid's table.
TEST(GgufCheckpoint, EveryPointOfAGridEqualsGgufPyBitForBit) {
  ExpectFixture(*Checkpoint::Open(kFixtures / "grids.gguf"), "grids.gguf");
}

// A type that is read, but that the two tests above do not have.
TEST(GgufCheckpoint, EveryTypeThatIsReadIsInTheFixtures) {
  std::set<std::string_view> tested;
  for (const char* file : {"mixed.gguf", "blocks.gguf"}) {
    const auto checkpoint = Checkpoint::Open(kFixtures / file);
    for (const TensorInfo& tensor : checkpoint->tensors()) {
      tested.insert(StorageTypeName(tensor.type));
    }
  }
  std::set<std::string_view> read;
  for (uint32_t id = 0; id < 100; ++id) {
    const GgmlType* const type = FindGgmlType(id);
    if (type == nullptr || !type->storage.has_value()) continue;
    EXPECT_EQ(StorageTypeName(*type->storage), type->name);
    read.insert(type->name);
  }
  EXPECT_EQ(tested, read);
}

TEST(Half, EveryValueIsExact) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float got = internal::HalfToFloat(static_cast<uint16_t>(bits));
    const float by_mask = internal::HalfToFloatByMask(static_cast<uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<uint32_t>(by_mask), std::bit_cast<uint32_t>(got)) << bits;
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const auto fraction = static_cast<float>(bits & 1023);
    ASSERT_EQ(std::signbit(got), bits >> 15 != 0) << bits;
    if (exponent == 31) {
      ASSERT_EQ(std::isinf(got), fraction == 0) << bits;
      ASSERT_EQ(std::isnan(got), fraction != 0) << bits;
    } else {
      const float want =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      ASSERT_EQ(std::abs(got), want) << bits;
    }
  }
}

TEST(GgufCheckpoint, SplitEqualsWhole) {
  ExpectFixture(*Checkpoint::Open(kFixtures / "split-00001-of-00003.gguf"), "mixed.gguf");
}

TEST(SafetensorsCheckpoint, EqualsTorchBitForBit) {
  const TempFolder folder;
  folder.Write("model.safetensors", FileBytes(kFixtures / "mixed.safetensors"));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ExpectFixture(*checkpoint, "mixed.safetensors");
  EXPECT_EQ(checkpoint->Find("cube"), nullptr);
  EXPECT_EQ(checkpoint->Find("position_ids"), nullptr);
}

// Ranges that begin and end inside a quantised block, and rows that are stored elsewhere.
class GgufBlocks : public testing::TestWithParam<const char*> {};

TEST_P(GgufBlocks, AnyBlockEqualsThatPartOfTheWhole) {
  const auto checkpoint = Checkpoint::Open(kFixtures / GetParam());
  std::mt19937 random(7);
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    const std::vector<float> whole = ReadAll(*checkpoint, tensor);
    for (int trial = 0; trial < 200; ++trial) {
      const int64_t r0 = random() % (tensor.rows + 1);
      const int64_t r1 = r0 + random() % (tensor.rows - r0 + 1);
      const int64_t c0 = random() % (tensor.cols + 1);
      const int64_t c1 = c0 + random() % (tensor.cols - c0 + 1);
      std::vector<float> want;
      for (int64_t r = r0; r < r1; ++r) {
        want.insert(want.end(), &whole[r * tensor.cols] + c0, &whole[r * tensor.cols] + c1);
      }
      std::vector<float> got(want.size());
      checkpoint->ReadBlock(tensor, r0, r1, c0, c1, got.data());
      ASSERT_TRUE(SameBits(got, want))
          << tensor.name << " rows " << r0 << " to " << r1 << ", cols " << c0 << " to " << c1;
    }
  }
}

// Columns cut as a row-parallel weight's are among ranks: by units of 64, which need not be a block
// of 256, so that a block may be shared by two ranks and each reads its part of it.
TEST_P(GgufBlocks, ColumnsOfRanksMakeUpTheWhole) {
  const auto checkpoint = Checkpoint::Open(kFixtures / GetParam());
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    const std::vector<float> whole = ReadAll(*checkpoint, tensor);
    for (const int64_t unit : {1, 31, 32, 64, 255, 256, 257}) {
      for (int64_t begin = 0; begin < tensor.cols; begin += unit) {
        const int64_t end = std::min(begin + unit, tensor.cols);
        std::vector<float> got(tensor.rows * (end - begin));
        checkpoint->ReadBlock(tensor, 0, tensor.rows, begin, end, got.data());
        for (int64_t r = 0; r < tensor.rows; ++r) {
          ASSERT_TRUE(SameBits(std::span(got).subspan(r * (end - begin), end - begin),
                               std::span(whole).subspan(r * tensor.cols + begin, end - begin)))
              << tensor.name << " row " << r << ", cols " << begin << " to " << end;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GgufBlocks, testing::Values("mixed.gguf", "blocks.gguf"),
                         [](const auto& test) {
                           const std::string name = test.param;
                           return name.substr(0, name.find('.'));
                         });

TEST(GgufCheckpoint, RowsOfQwen2AreNotPermuted) {
  const TempFolder folder;
  std::vector<float> rows(8);
  for (int i = 0; i < 8; ++i) rows[i] = static_cast<float>(i);
  for (const bool is_llama : {true, false}) {
    GgufWriter writer;
    writer.String("general.architecture", is_llama ? "llama" : "qwen2");
    writer.Uint32("llama.attention.head_count", 2);
    writer.Uint32("llama.attention.head_count_kv", 1);
    writer.Float32Tensor("blk.0.attn_q.weight", {1, 8}, rows);
    writer.Float32Tensor("blk.0.attn_k.weight", {1, 8}, rows);
    writer.Float32Tensor("blk.0.attn_v.weight", {1, 8}, rows);
    writer.Float32Tensor("blk.0.attn_q.bias", {8}, rows);
    const auto checkpoint = Checkpoint::Open(folder.Write("m.gguf", writer.Bytes()));
    const auto read = [&](const char* name) {
      const TensorInfo* const tensor = checkpoint->Find(name);
      EXPECT_NE(tensor, nullptr) << name;
      return tensor == nullptr ? std::vector<float>{} : ReadAll(*checkpoint, *tensor);
    };
    const std::vector<float> two_heads =
        is_llama ? std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7} : rows;
    const std::vector<float> one_head =
        is_llama ? std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7} : rows;
    EXPECT_EQ(read("model.layers.0.self_attn.q_proj.weight"), two_heads);
    EXPECT_EQ(read("model.layers.0.self_attn.q_proj.bias"), two_heads);
    EXPECT_EQ(read("model.layers.0.self_attn.k_proj.weight"), one_head);
    EXPECT_EQ(read("model.layers.0.self_attn.v_proj.weight"), rows);
  }
}

TEST(Checkpoint, ExpectNamesWhatIsMissingOrOfAnotherShape) {
  const auto checkpoint = Checkpoint::Open(kFixtures / "mixed.gguf");
  EXPECT_THAT(ErrorOf([&] { checkpoint->Expect("lm_head.weight", 10, 32); }),
              HasSubstr("has no tensor \"lm_head.weight\""));
  EXPECT_THAT(ErrorOf([&] { checkpoint->Expect("model.norm.weight", 1, 33); }),
              HasSubstr("has shape [1, 32], expected [1, 33]"));
  EXPECT_THROW(checkpoint->ReadBlock(*checkpoint->Find("model.norm.weight"), 0, 2, 0, 1, nullptr),
               std::logic_error);
}

TEST(GgufCheckpoint, RefusesATypeOnlyWhereTheModelNeedsIt) {
  const TempFolder folder;
  GgufWriter writer;
  writer.String("general.architecture", "qwen2");
  writer.Tensor("some.table", {256, 1}, /*Q8_K*/ 15, std::string(292, 'x'));
  writer.Tensor("some.other", {1}, /*unknown*/ 99, "x");
  const auto path = folder.Write("m.gguf", writer.Bytes());
  EXPECT_TRUE(Checkpoint::Open(path)->tensors().empty());
  writer.Tensor("blk.0.ffn_up.weight", {256, 1}, 15, std::string(292, 'x'));
  folder.Write("m.gguf", writer.Bytes());
  EXPECT_THAT(
      ErrorOf([&] { Checkpoint::Open(path); }),
      AllOf(HasSubstr("tensor blk.0.ffn_up.weight is of type Q8_K, expected F32, F16, Q4_0"),
            HasSubstr(", Q6_K, IQ2_XXS"), HasSubstr(" or MXFP4")));
}

TEST(GgufCheckpoint, RefusesWrongSplits) {
  const TempFolder folder;
  const auto part = [](int number, int count, int n_tensors, const char* tensor) {
    GgufWriter writer;
    writer.String("general.architecture", "qwen2");
    writer.Number<uint16_t>("split.no", GgufType::kUint16, number);
    writer.Number<uint16_t>("split.count", GgufType::kUint16, count);
    writer.Number<int32_t>("split.tensors.count", GgufType::kInt32, n_tensors);
    writer.Float32Tensor(tensor, {1}, {1});
    return writer.Bytes();
  };
  const auto first = folder.Write("m-00001-of-00002.gguf", part(0, 2, 2, "a"));
  const auto open = [&] { Checkpoint::Open(first); };
  EXPECT_THAT(ErrorOf(open), HasSubstr("m-00002-of-00002.gguf: cannot be opened"));
  const auto second = folder.Write("m-00002-of-00002.gguf", part(1, 2, 2, "b"));
  EXPECT_EQ(ErrorOf(open), "");
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(second); }), HasSubstr("expected the first"));
  folder.Write("m-00002-of-00002.gguf", part(1, 2, 2, "a"));
  EXPECT_THAT(ErrorOf(open), HasSubstr("tensor \"a\" is also in another file"));
  folder.Write("m-00002-of-00002.gguf", part(1, 3, 2, "b"));
  EXPECT_THAT(ErrorOf(open), HasSubstr("says it is part 2 of 3, expected part 2 of 2"));
  folder.Write("m-00002-of-00002.gguf", part(0, 2, 2, "b"));
  EXPECT_THAT(ErrorOf(open), HasSubstr("says it is part 1 of 2"));
  folder.Write("m-00002-of-00002.gguf", part(1, 2, 2, "b"));
  folder.Write("m-00001-of-00002.gguf", part(0, 2, 3, "a"));
  EXPECT_THAT(ErrorOf(open), HasSubstr("split.tensors.count is 3"));
  const auto renamed = folder.Write("m.gguf", part(0, 2, 2, "a"));
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(renamed); }), HasSubstr("expected its name to end"));
}

TEST(Checkpoint, FilesCutShortAnywhereAreRefused) {
  const TempFolder folder;
  const std::string gguf = FileBytes(kFixtures / "mixed.gguf");
  const std::string safetensors = FileBytes(kFixtures / "mixed.safetensors");
  for (size_t bytes = 0; bytes < gguf.size(); bytes += 97) {
    // The last tensor of the file ends before its padding does.
    if (bytes + 32 > gguf.size()) continue;
    const auto path = folder.Write("cut.gguf", std::string_view(gguf).substr(0, bytes));
    EXPECT_THROW(Checkpoint::Open(path), Error) << bytes << " bytes of " << gguf.size();
  }
  for (size_t bytes = 0; bytes < safetensors.size(); bytes += 7) {
    folder.Write("model.safetensors", std::string_view(safetensors).substr(0, bytes));
    EXPECT_THROW(Checkpoint::Open(folder.path()), Error) << bytes << " of " << safetensors.size();
  }
}

// One byte of the head set to another value: refused by a kvfold::Error or read, never anything
// else.
TEST(Checkpoint, NoFlippedByteOfAHeadCrashesIt) {
  const TempFolder folder;
  std::mt19937 random(11);
  for (const bool is_gguf : {true, false}) {
    const std::string whole = FileBytes(kFixtures / (is_gguf ? "mixed.gguf" : "mixed.safetensors"));
    for (size_t place = 0; place < std::min<size_t>(whole.size(), 2000);
         place += 1 + random() % 8) {
      std::string bytes = whole;
      bytes[place] = static_cast<char>(random());
      folder.Write(is_gguf ? "m.gguf" : "model.safetensors", bytes);
      try {
        const auto checkpoint =
            Checkpoint::Open(is_gguf ? folder.path() / "m.gguf" : folder.path());
        for (const TensorInfo& tensor : checkpoint->tensors()) ReadAll(*checkpoint, tensor);
      } catch (const Error&) {
      }
    }
  }
}

std::string Safetensors(const std::string& header, size_t data_bytes, int64_t length_lie = 0) {
  std::string bytes;
  GgufWriter::Put<uint64_t>(bytes, header.size() + static_cast<uint64_t>(length_lie));
  return bytes + header + std::string(data_bytes, '\0');
}

struct Lie {
  const char* name;
  std::string bytes;
  const char* message;
};

class LyingSafetensors : public testing::TestWithParam<Lie> {};

TEST_P(LyingSafetensors, IsRefusedByName) {
  const TempFolder folder;
  folder.Write("model.safetensors", GetParam().bytes);
  const std::string message = ErrorOf([&] { Checkpoint::Open(folder.path()); });
  EXPECT_THAT(message, HasSubstr("model.safetensors"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

std::string OneTensor(const std::string& fields, size_t data_bytes = 8) {
  return Safetensors("{\"lm_head.weight\":{" + fields + "}}", data_bytes);
}

const std::string kTwo = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";

const Lie kLies[] = {
    {"Empty", "", "an empty file, expected a safetensors file"},
    {"SevenBytes", "1234567", "too short"},
    {"HeaderLongerThanFile", Safetensors("{}", 0, 1), "header has 3 bytes, expected at most 2"},
    {"HeaderLengthHuge", Safetensors("{}", 0, -3), "header has 18446744073709551615 bytes"},
    {"NoJson", Safetensors("{", 0), "not valid JSON"},
    {"BinaryHeader", Safetensors(std::string(64, '\xff'), 0), "not valid JSON"},
    {"DeepHeader", Safetensors(std::string(100000, '['), 0), "nested more than 64 deep"},
    {"ArrayHeader", Safetensors("[]", 0), "not a JSON object"},
    {"TensorTwice", Safetensors("{\"a\":{" + kTwo + "},\"a\":{" + kTwo + "}}", 8),
     "key \"a\" appears twice"},
    {"TensorIsNumber", Safetensors("{\"a\":1}", 0), "expected dtype, shape and data_offsets"},
    {"MissingShape", OneTensor(R"("dtype":"F32","data_offsets":[0,8])"), "expected dtype, shape"},
    {"OneMoreField", OneTensor(kTwo + ",\"x\":1"), "nothing else"},
    {"DtypeNumber", OneTensor(R"("dtype":1,"shape":[2],"data_offsets":[0,8])"), "dtype is not"},
    {"NegativeDim", OneTensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
     "shape is not a list of sizes"},
    {"FractionalDim", OneTensor(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
     "shape is not a list of sizes"},
    {"HugeDim", OneTensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"),
     "shape is not a list of sizes"},
    {"ShapeOverflows",
     OneTensor(R"("dtype":"F32","shape":[4294967296,4294967296,4294967298],"data_offsets":[0,8])"),
     "is not the 8 bytes"},
    {"OneOffset", OneTensor(R"("dtype":"F32","shape":[2],"data_offsets":[8])"), "not two sizes"},
    {"NegativeOffset", OneTensor(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"),
     "not two sizes"},
    {"OffsetsReversed", OneTensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
     "data_offsets are [8, 0]"},
    {"PastTheEnd", OneTensor(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])"),
     "the file has 8 bytes of data"},
    {"ShapeTooSmall", OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"),
     "is not the 8 bytes"},
    {"DtypeTooWide", OneTensor(R"("dtype":"F64","shape":[2],"data_offsets":[0,8])"),
     "is not the 8 bytes"},
    {"DtypeNotRead", OneTensor(R"("dtype":"F64","shape":[1],"data_offsets":[0,8])"),
     "tensor lm_head.weight is of type \"F64\", expected F32, F16 or BF16"},
    {"DtypeUnknown", OneTensor(R"("dtype":"F3","shape":[1],"data_offsets":[0,8])"),
     "is of type \"F3\""},
    {"ThreeDims", OneTensor(R"("dtype":"F32","shape":[1,1,2],"data_offsets":[0,8])"),
     "shape [1, 1, 2]"},
    {"NoElements", OneTensor(R"("dtype":"F32","shape":[0,2],"data_offsets":[0,0])"),
     "shape [0, 2]"},
    {"Overlap",
     Safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                 12),
     "tensors \"a\" and \"b\" overlap"},
};

INSTANTIATE_TEST_SUITE_P(Lies, LyingSafetensors, testing::ValuesIn(kLies),
                         [](const auto& test) { return test.param.name; });

TEST(SafetensorsCheckpoint, ReadsTheShardsThatAnIndexNames) {
  const TempFolder folder;
  folder.Write("one.safetensors", Safetensors("{\"a\":{" + kTwo + "}}", 8));
  folder.Write("two.safetensors", Safetensors("{\"b\":{" + kTwo + "}}", 8));
  const auto open = [&] { Checkpoint::Open(folder.path()); };
  EXPECT_THAT(ErrorOf(open),
              HasSubstr("2 *.safetensors files and no model.safetensors.index.json"));
  const auto index = [&](const std::string& map) {
    folder.Write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
  };
  index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_EQ(Checkpoint::Open(folder.path())->tensors().size(), 2u);
  // What no shard has, nobody may need: OpenModelWeights says so where it is needed.
  index(R"({"a":"one.safetensors","c":"two.safetensors"})");
  EXPECT_EQ(Checkpoint::Open(folder.path())->tensors().size(), 2u);
  // A shard that has it after all.
  index(R"({"a":"two.safetensors","b":"one.safetensors"})");
  EXPECT_EQ(Checkpoint::Open(folder.path())->tensors().size(), 2u);
  index(R"({"a":"one.safetensors","b":"three.safetensors"})");
  EXPECT_THAT(ErrorOf(open), HasSubstr("three.safetensors: cannot be opened"));
  index(R"({"a":"../one.safetensors"})");
  EXPECT_THAT(ErrorOf(open), HasSubstr("gives tensor \"a\" no name of a .safetensors file"));
  index(R"({"a":1})");
  EXPECT_THAT(ErrorOf(open), HasSubstr("gives tensor \"a\""));
  index("{}");
  EXPECT_THAT(ErrorOf(open), HasSubstr("weight_map is missing"));
  folder.Write("model.safetensors.index.json", "[]");
  EXPECT_THAT(ErrorOf(open), HasSubstr("weight_map is missing"));
}

TEST(SafetensorsCheckpoint, IndexSaysWhichOfTwoIsMeant) {
  const TempFolder folder;
  folder.Write("one.safetensors", Safetensors("{\"lm_head.weight\":{" + kTwo + "}}", 8));
  folder.Write(
      "two.safetensors",
      Safetensors(R"({"lm_head.weight":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}})", 8));
  const auto index = [&](const std::string& map) {
    folder.Write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
  };
  index(R"({"lm_head.weight":"one.safetensors","b":"two.safetensors"})");
  EXPECT_EQ(Checkpoint::Open(folder.path())->Find("lm_head.weight")->type, StorageType::kF32);
  index(R"({"lm_head.weight":"two.safetensors","b":"one.safetensors"})");
  EXPECT_EQ(Checkpoint::Open(folder.path())->Find("lm_head.weight")->type, StorageType::kF16);
  index(R"({"c":"two.safetensors","b":"one.safetensors"})");
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(folder.path()); }),
              HasSubstr("one.safetensors: tensor \"lm_head.weight\" is also in"));
  // Of a tensor that nobody reads, any will do.
  for (const char* name : {"one.safetensors", "two.safetensors"}) {
    folder.Write(name, Safetensors("{\"a\":{" + kTwo + "}}", 8));
  }
  EXPECT_EQ(Checkpoint::Open(folder.path())->tensors().size(), 1u);
}

TEST(Checkpoint, RefusesWhatIsNone) {
  const TempFolder folder;
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(folder.path()); }), HasSubstr("0 *.safetensors"));
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(folder.path() / "none.gguf"); }),
              HasSubstr("cannot be opened"));
  const auto json = folder.Write("config.json", "{}");
  EXPECT_THAT(ErrorOf([&] { Checkpoint::Open(json); }),
              HasSubstr("config.json: a JSON file, which has no weights, expected the folder"));
}

TEST(Checkpoint, FingerprintIsOfTheContentsAndNotOfThePlace) {
  const TempFolder here;
  const TempFolder there;
  const std::string bytes = FileBytes(kFixtures / "mixed.gguf");
  const auto print = [](const std::filesystem::path& path) {
    return Checkpoint::Open(path)->Fingerprint();
  };
  const uint64_t one = print(here.Write("m.gguf", bytes));
  EXPECT_EQ(one, print(here.path() / "m.gguf"));
  EXPECT_EQ(one, print(there.Write("m.gguf", bytes)));
  EXPECT_NE(one, print(there.Write("n.gguf", bytes)));
  EXPECT_NE(one, print(there.Write("m.gguf", bytes + std::string(1, '\0'))));
  std::string changed = bytes;
  changed[changed.size() - 1] ^= 1;
  EXPECT_NE(one, print(there.Write("m.gguf", changed)));
  changed = bytes;
  changed.replace(changed.find("<3>"), 3, "<x>");
  EXPECT_NE(one, print(there.Write("m.gguf", changed)));
}

// Of mapped files, those in memory (a /tmp that is a tmpfs) among them.
int64_t ResidentFileKiB() {
  std::ifstream status("/proc/self/status");
  int64_t kib = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) kib += std::stoll(line.substr(8));
    if (line.starts_with("RssShmem:")) kib += std::stoll(line.substr(9));
  }
  return kib;
}

TEST(Checkpoint, DroppedPagesLeaveTheProcessAndComeBack) {
  const TempFolder folder;
  constexpr int64_t kElements = int64_t{4} << 20;  // 16 MiB
  GgufWriter writer;
  writer.String("general.architecture", "qwen2");
  writer.Float32Tensor("output.weight", {1024, kElements / 1024},
                       std::vector<float>(kElements, 1.5f));
  const auto checkpoint = Checkpoint::Open(folder.Write("m.gguf", writer.Bytes()));
  const TensorInfo& tensor = checkpoint->Expect("lm_head.weight", kElements / 1024, 1024);
  const std::vector<float> before = ReadAll(*checkpoint, tensor);
  const int64_t resident_kib = ResidentFileKiB();
  checkpoint->DropResidentPages();
  // All but pages that the test itself brings in meanwhile.
  EXPECT_LE(ResidentFileKiB(), resident_kib - 15 * 1024);
  EXPECT_EQ(ReadAll(*checkpoint, tensor), before);
  checkpoint->Fingerprint();  // of a file longer than its samples
}

TEST(TensorNames, LayersAreReadStrictly) {
  EXPECT_EQ(NameFromGguf("blk.12.ffn_down.weight"), "model.layers.12.mlp.down_proj.weight");
  EXPECT_EQ(NameFromGguf("output.weight"), "lm_head.weight");
  for (const char* name : {"blk.012.ffn_down.weight", "blk..ffn_down.weight", "blk.1", "blk.",
                           "blk.1.", "blk.-1.ffn_down.weight", "blk.1.ffn_down",
                           "blk.9999999999.ffn_up.weight", "", "output.bias"}) {
    EXPECT_EQ(NameFromGguf(name), std::nullopt) << name;
  }
  EXPECT_TRUE(IsModelTensor("model.layers.0.self_attn.k_proj.bias"));
  EXPECT_FALSE(IsModelTensor("model.layers.0.self_attn.rotary_emb.inv_freq"));
}

}  // namespace
}  // namespace kvfold
