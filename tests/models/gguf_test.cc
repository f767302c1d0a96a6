// The head of a GGUF file: every value type, and files that lie.
#include "models/checkpoint/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "comm/error.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufWriter SmallFile() {
  GgufWriter writer;
  writer.Number<uint8_t>("u8", GgufType::kUint8, 255);
  writer.Number<int8_t>("i8", GgufType::kInt8, -128);
  writer.Number<uint16_t>("u16", GgufType::kUint16, 65535);
  writer.Number<int16_t>("i16", GgufType::kInt16, -32768);
  writer.Number<uint32_t>("u32", GgufType::kUint32, 4294967295u);
  writer.Number<int32_t>("i32", GgufType::kInt32, std::numeric_limits<int32_t>::min());
  writer.Number<uint64_t>("u64", GgufType::kUint64, std::numeric_limits<uint64_t>::max());
  writer.Number<int64_t>("i64", GgufType::kInt64, std::numeric_limits<int64_t>::min());
  writer.Float32("f32", 0.5f);
  writer.Number<double>("f64", GgufType::kFloat64, -0.1);
  writer.Bool("yes", true);
  writer.Bool("no", false);
  writer.String("text", "caf\u00e9");
  writer.String("empty", "");
  writer.StringArray("words", {"a", "", "ccc"});
  writer.NumberArray<int32_t>("ints", GgufType::kInt32, {-1, 0, 7});
  writer.NumberArray<uint64_t>("big", GgufType::kUint64, {1, uint64_t{1} << 63});
  writer.NumberArray<float>("reals", GgufType::kFloat32, {1.5f, -2.0f});
  writer.NumberArray<float>("none", GgufType::kFloat32, {});
  std::string nested = GgufWriter::ArrayHead(GgufType::kArray, 2);
  nested += GgufWriter::ArrayHead(GgufType::kUint8, 2) + "\x01\x02";
  nested += GgufWriter::ArrayHead(GgufType::kString, 0);
  writer.Raw("nested", static_cast<uint32_t>(GgufType::kArray), nested);
  writer.Float32Tensor("one", {3}, {1, 2, 3});
  writer.Float32Tensor("two", {2, 2}, {1, 2, 3, 4});
  return writer;
}

TEST(GgufFile, ReadsEveryValueType) {
  const TempFolder folder;
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = SmallFile();
    writer.version = version;
    const GgufFile file(folder.Write("a.gguf", writer.Bytes()));
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.Int("u8"), 255);
    EXPECT_EQ(file.Int("i8"), -128);
    EXPECT_EQ(file.Int("u16"), 65535);
    EXPECT_EQ(file.Int("i16"), -32768);
    EXPECT_EQ(file.Int("u32"), 4294967295);
    EXPECT_EQ(file.Int("i32"), std::numeric_limits<int32_t>::min());
    EXPECT_EQ(file.Int("i64"), std::numeric_limits<int64_t>::min());
    EXPECT_EQ(file.Float("f32"), 0.5);
    EXPECT_EQ(file.Float("f64"), -0.1);
    EXPECT_EQ(file.Float("i8"), -128.0);
    EXPECT_TRUE(file.Bool("yes"));
    EXPECT_FALSE(file.Bool("no"));
    EXPECT_EQ(file.String("text"), "caf\u00e9");
    EXPECT_EQ(file.String("empty"), "");
    EXPECT_THAT(file.StringArray("words"), ElementsAre("a", "", "ccc"));
    EXPECT_THAT(file.IntArray("ints"), ElementsAre(-1, 0, 7));
    EXPECT_THAT(file.FloatArray("reals"), ElementsAre(1.5f, -2.0f));
    EXPECT_THAT(file.FloatArray("ints"), ElementsAre(-1.0f, 0.0f, 7.0f));
    EXPECT_TRUE(file.FloatArray("none").empty());
    const auto& nested = std::get<GgufArray>(file.Find("nested")->value);
    ASSERT_EQ(nested.arrays.size(), 2u);
    EXPECT_EQ(nested.arrays[0].Int(1), 2);
    EXPECT_EQ(nested.arrays[1].count, 0u);
    EXPECT_EQ(file.Find("missing"), nullptr);
    EXPECT_EQ(file.Int("missing", 5), 5);
    EXPECT_EQ(file.String("missing", "x"), "x");
  }
}

TEST(GgufFile, SaysWhatIsMissingOrOfAnotherKind) {
  const TempFolder folder;
  const GgufFile file(folder.Write("a.gguf", SmallFile().Bytes()));
  EXPECT_THAT(ErrorOf([&] { file.Int("missing"); }), HasSubstr("no key \"missing\""));
  EXPECT_THAT(ErrorOf([&] { file.Int("text"); }), HasSubstr("of type string, expected an integer"));
  EXPECT_THAT(ErrorOf([&] { file.Int("f32"); }), HasSubstr("of type float32"));
  EXPECT_THAT(ErrorOf([&] { file.Int("yes"); }), HasSubstr("of type bool"));
  EXPECT_THAT(ErrorOf([&] { file.Int("u64"); }), HasSubstr("less than 2^63"));
  EXPECT_THAT(ErrorOf([&] { file.String("u8", "x"); }), HasSubstr("expected a string"));
  EXPECT_THAT(ErrorOf([&] { file.StringArray("ints"); }), HasSubstr("array of int32"));
  EXPECT_THAT(ErrorOf([&] { file.IntArray("reals"); }), HasSubstr("array of float32"));
  EXPECT_THAT(ErrorOf([&] { file.FloatArray("words"); }), HasSubstr("array of string"));
  EXPECT_THAT(ErrorOf([&] { file.Bool("u8"); }), HasSubstr("expected a bool"));
  EXPECT_THAT(ErrorOf([&] { file.IntArray("big"); }), HasSubstr("at [1], expected less than 2^63"));
}

TEST(GgufFile, ListsTensorsWithTheirExtents) {
  const TempFolder folder;
  const GgufFile file(folder.Write("a.gguf", SmallFile().Bytes()));
  ASSERT_EQ(file.tensors().size(), 2u);
  const GgufTensor* const two = file.FindTensor("two");
  ASSERT_NE(two, nullptr);
  EXPECT_THAT(two->dims, ElementsAre(2, 2));
  EXPECT_EQ(two->bytes, 16);
  float value = 0;
  std::memcpy(&value, file.file().data() + two->offset_bytes + 12, sizeof(value));
  EXPECT_EQ(value, 4.0f);
  EXPECT_EQ(file.FindTensor("three"), nullptr);
}

TEST(GgufFile, CutShortAnywhereIsRefused) {
  const TempFolder folder;
  const std::string whole = SmallFile().Bytes();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const auto path = folder.Write("cut.gguf", std::string_view(whole).substr(0, bytes));
    EXPECT_THROW(GgufFile file(path), InputError) << "of " << whole.size() << " bytes: " << bytes;
  }
}

struct Lie {
  const char* name;
  std::function<std::string()> bytes;
  const char* message;
};

std::string Edited(const std::function<void(GgufWriter&)>& edit) {
  GgufWriter writer = SmallFile();
  edit(writer);
  return writer.Bytes();
}

class LyingGguf : public testing::TestWithParam<Lie> {};

TEST_P(LyingGguf, IsRefusedByName) {
  const TempFolder folder;
  const auto path = folder.Write("lie.gguf", GetParam().bytes());
  const std::string message = ErrorOf([&] { GgufFile file(path); });
  EXPECT_THAT(message, HasSubstr("lie.gguf"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

constexpr uint32_t kArrayType = static_cast<uint32_t>(GgufType::kArray);

std::string DeepArray(int depth) {
  std::string bytes;
  for (int i = 1; i < depth; ++i) bytes += GgufWriter::ArrayHead(GgufType::kArray, 1);
  return bytes + GgufWriter::ArrayHead(GgufType::kUint8, 0);
}

const Lie kLies[] = {
    {"Magic", [] { return Edited([](auto& w) { w.magic = 1; }); }, "not a GGUF file"},
    {"Version1", [] { return Edited([](auto& w) { w.version = 1; }); }, "version 1"},
    {"Version4", [] { return Edited([](auto& w) { w.version = 4; }); }, "version 4"},
    {"BigEndian", [] { return Edited([](auto& w) { w.version = 0x03000000; }); }, "big-endian"},
    {"TensorCount", [] { return Edited([](auto& w) { w.tensor_count_lie = int64_t{1} << 60; }); },
     "the tensor count"},
    {"TensorCountMinusOne", [] { return Edited([](auto& w) { w.tensor_count_lie = -3; }); },
     "the tensor count"},
    {"MetadataCount",
     [] { return Edited([](auto& w) { w.metadata_count_lie = int64_t{1} << 60; }); },
     "the metadata count"},
    {"StringPastTheEnd",
     [] {
       return Edited([](auto& w) {
         std::string bytes;
         GgufWriter::Put<uint64_t>(bytes, std::numeric_limits<uint64_t>::max());
         w.Raw("long", static_cast<uint32_t>(GgufType::kString), bytes);
       });
     },
     "metadata key \"long\""},
    {"ArrayPastTheEnd",
     [] {
       return Edited([](auto& w) {
         w.Raw("long", kArrayType, GgufWriter::ArrayHead(GgufType::kFloat64, uint64_t{1} << 61));
       });
     },
     "metadata key \"long\""},
    {"StringArrayPastTheEnd",
     [] {
       return Edited([](auto& w) {
         w.Raw("long", kArrayType, GgufWriter::ArrayHead(GgufType::kString, uint64_t{1} << 62));
       });
     },
     "metadata key \"long\""},
    {"ArrayOfArraysPastTheEnd",
     [] {
       return Edited([](auto& w) {
         w.Raw("long", kArrayType, GgufWriter::ArrayHead(GgufType::kArray, uint64_t{1} << 62));
       });
     },
     "metadata key \"long\""},
    {"TooDeep", [] { return Edited([](auto& w) { w.Raw("deep", kArrayType, DeepArray(5)); }); },
     "nests arrays"},
    {"FarTooDeep",
     [] { return Edited([](auto& w) { w.Raw("deep", kArrayType, DeepArray(100000)); }); },
     "nests arrays"},
    {"ValueType", [] { return Edited([](auto& w) { w.Raw("odd", 13, "x"); }); }, "value type 13"},
    {"KeyTwice", [] { return Edited([](auto& w) { w.Uint32("u8", 1); }); }, "appears twice"},
    {"AlignmentZero", [] { return Edited([](auto& w) { w.Uint32("general.alignment", 0); }); },
     "general.alignment is 0"},
    {"AlignmentThree", [] { return Edited([](auto& w) { w.Uint32("general.alignment", 3); }); },
     "general.alignment is 3"},
    {"AlignmentText", [] { return Edited([](auto& w) { w.String("general.alignment", "8"); }); },
     "expected an integer"},
    {"TensorTwice", [] { return Edited([](auto& w) { w.Float32Tensor("one", {1}, {1}); }); },
     "tensor \"one\" appears twice"},
    {"FiveDims", [] { return Edited([](auto& w) {
                        w.TensorAt("t", {1, 1, 1, 1, 1}, 0, 0);
                      }); },
     "5 dimensions"},
    {"NegativeDim", [] { return Edited([](auto& w) { w.TensorAt("t", {-1}, 0, 0); }); },
     "out of range"},
    {"ElementsOverflow",
     [] {
       return Edited([](auto& w) { w.TensorAt("t", {int64_t{1} << 40, int64_t{1} << 40}, 0, 0); });
     },
     "out of range"},
    {"BytesOverflow",
     [] { return Edited([](auto& w) { w.TensorAt("t", {int64_t{1} << 62}, 0, 0); }); },
     "more than a file can hold"},
    {"BlockCut", [] { return Edited([](auto& w) {
                        w.TensorAt("t", {33, 1}, 3, 0);
                      }); },
     "multiple of 32"},
    {"OffsetPastTheEnd",
     [] { return Edited([](auto& w) { w.TensorAt("t", {1}, 0, uint64_t{1} << 40); }); },
     "tensor \"t\""},
    {"OffsetHuge",
     [] {
       return Edited(
           [](auto& w) { w.TensorAt("t", {1}, 0, std::numeric_limits<uint64_t>::max()); });
     },
     "tensor \"t\""},
    {"SizePastTheEnd", [] { return Edited([](auto& w) { w.TensorAt("t", {1000}, 0, 0); }); },
     "tensor \"t\""},
    {"OffsetNotAligned", [] { return Edited([](auto& w) { w.TensorAt("t", {1}, 0, 4); }); },
     "multiple of 32"},
    {"Overlap", [] { return Edited([](auto& w) { w.TensorAt("t", {1}, 0, 0); }); }, "overlap"},
};

INSTANTIATE_TEST_SUITE_P(Lies, LyingGguf, testing::ValuesIn(kLies),
                         [](const auto& test) { return test.param.name; });

TEST(GgufFile, DepthFourIsTaken) {
  const TempFolder folder;
  const auto path =
      folder.Write("deep.gguf", Edited([](auto& w) { w.Raw("deep", kArrayType, DeepArray(4)); }));
  EXPECT_NO_THROW(GgufFile file(path));
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TempFolder folder;
  EXPECT_THROW(MappedFile file(folder.path() / "none"), InputError);
  EXPECT_THROW(MappedFile file(folder.path()), InputError);
  EXPECT_EQ(MappedFile(folder.Write("empty", "")).size_bytes(), 0u);
}

TEST(MappedFile, ReadsTheSameAfterDroppingPages) {
  const TempFolder folder;
  const MappedFile file(folder.Write("a", std::string(100000, 'x')));
  EXPECT_EQ(file.bytes()[99999], 'x');
  file.DropResidentPages();
  EXPECT_EQ(file.bytes()[99999], 'x');
}

}  // namespace
}  // namespace kvfold
