// What a file is, told by its contents; and that every reader of a model takes and refuses the same
// paths.
#include "models/checkpoint/file_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "models/chat_template.h"
#include "models/checkpoint/checkpoint.h"
#include "models/checkpoint/model_path.h"
#include "models/checkpoint/model_weights.h"
#include "models/model_config.h"
#include "models/tokenizer/tokenizer.h"
#include "tests/models/error_of.h"
#include "tests/models/gguf_writer.h"
#include "tests/models/safetensors_writer.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 2442848576\n";

struct Sample {
  const char* name;
  std::string bytes;
  FileKind kind;
  const char* description;
};
const Sample kSamples[] = {
    {"Empty", "", FileKind::kForeign, "an empty file"},
    {"Gguf", "GGUF\3\0\0\0"s, FileKind::kGguf, "a GGUF file"},
    {"GgufSwapped", "FUGG\0\0\0\3"s, FileKind::kForeign, "big-endian"},
    {"Ggml", "lmgg1234", FileKind::kForeign, "a ggml file"},
    {"Ggmf", "fmgg1234", FileKind::kForeign, "a ggmf file"},
    {"Ggjt", "tjgg\3\0\0\0"s, FileKind::kForeign, "a ggjt file"},
    {"Ggla", "algg\1\0\0\0"s, FileKind::kForeign, "a LoRA adapter"},
    {"Safetensors", "\2\0\0\0\0\0\0\0{}"s, FileKind::kSafetensors, "safetensors file"},
    {"Zip", "PK\3\4\0\0"s, FileKind::kForeign, "PyTorch's .bin"},
    {"Pickle", "\x80\2\x8a\nl"s, FileKind::kForeign, "a Python pickle"},
    {"LfsPointer", kPointer, FileKind::kForeign, "a Git LFS pointer to a file of 2442848576 bytes"},
    {"Html", "\n <!DOCTYPE html><html>", FileKind::kForeign, "a web page"},
    {"Xml", "<?xml version='1.0'?><Error><Code>AccessDenied", FileKind::kForeign, "AccessDenied"},
    {"Gzip", "\x1f\x8b\x08\0"s, FileKind::kForeign, "a gzip archive"},
    {"Tar", "model/"s + std::string(251, '\0') + "ustar\0"s, FileKind::kForeign, "a tar archive"},
    {"Zeros", std::string(64, '\0'), FileKind::kForeign, "an unfinished download"},
    {"Hdf5", "\x89HDF\r\n\x1a\n\0"s, FileKind::kForeign, "an HDF5 file"},
    {"SentencePiece", "\n\x0e\n\5<unk>\x15"s, FileKind::kForeign, "a SentencePiece vocabulary"},
    {"Tiktoken", "IQ== 0\nIg== 1\n", FileKind::kForeign, "a tiktoken vocabulary"},
    {"Json", "\xef\xbb\xbf \n{\"a\": 1}", FileKind::kJson, "a JSON file"},
    {"JsonArray", "[1]", FileKind::kJson, "a JSON file"},
    {"Utf16", "\xff\xfe{\0}\0"s, FileKind::kJson, "a UTF-16 text"},
    {"Text", "Entry not found", FileKind::kUnknown, "begins \"Entry not found\""},
    {"Binary", "\x01\x02\x03", FileKind::kUnknown, "begins \"\\u{1}"},
};

class Sniffed : public testing::TestWithParam<Sample> {};

TEST_P(Sniffed, IsCalledWhatItIs) {
  const TempFolder folder;
  const Sample& sample = GetParam();
  const auto path = folder.Write("any.name", sample.bytes);
  const FileNature nature = SniffFile(path);
  EXPECT_EQ(nature.kind, sample.kind);
  EXPECT_THAT(nature.description, HasSubstr(sample.description));
}

// Whoever opens such a file says so, whatever the file is taken for.
TEST_P(Sniffed, IsRefusedByEveryReaderAlike) {
  const Sample& sample = GetParam();
  const TempFolder folder;
  const auto path = folder.Write("any.name", sample.bytes);
  const std::function<void()> readers[] = {
      [&] { ReadModelConfig(path); },
      [&] { Checkpoint::Open(path); },
      [&] { Tokenizer::Open(path); },
      [&] { ChatTemplate::Open(path); },
  };
  for (const auto& reader : readers) {
    const std::string message = ErrorOf(reader);
    EXPECT_THAT(message, HasSubstr("any.name"));
    if (sample.kind == FileKind::kGguf || sample.kind == FileKind::kJson) continue;
    EXPECT_THAT(message, HasSubstr(sample.description));
    EXPECT_THAT(message, HasSubstr("or a .gguf file"));
  }
}

TEST_P(Sniffed, IsRefusedAsAPartOfAFolder) {
  const Sample& sample = GetParam();
  if (sample.kind != FileKind::kForeign) return;
  const TempFolder folder;
  const auto refused = [&](const std::string& name, const std::function<void()>& reader) {
    folder.Write(name, sample.bytes);
    EXPECT_THAT(ErrorOf(reader), AllOf(HasSubstr(name + ": "), HasSubstr(sample.description)));
    std::filesystem::remove(folder.path() / name);  // readers of other parts may look at it too
  };
  refused("config.json", [&] { ReadModelConfig(folder.path()); });
  refused("model.safetensors", [&] { Checkpoint::Open(folder.path()); });
  refused("tokenizer.json", [&] { Tokenizer::Open(folder.path()); });
  refused("tokenizer_config.json", [&] { ChatTemplate::Open(folder.path()); });
  refused("m.gguf", [&] { ReadModelConfig(folder.path() / "m.gguf"); });
}

INSTANTIATE_TEST_SUITE_P(Kinds, Sniffed, testing::ValuesIn(kSamples),
                         [](const auto& test) { return test.param.name; });

class ModelPath : public testing::Test {
 protected:
  fs::path Folder(const std::string& name) {
    fs::create_directories(folder_.path() / name);
    return folder_.path() / name;
  }
  std::string ConfigError(const fs::path& path) {
    return ErrorOf([&] { ReadModelConfig(path); });
  }
  std::string WeightsError(const fs::path& path) {
    return ErrorOf([&] { Checkpoint::Open(path); });
  }
  std::string TokenizerError(const fs::path& path) {
    return ErrorOf([&] { Tokenizer::Open(path); });
  }
  std::string Path(const std::string& name) { return (folder_.path() / name).string(); }
  TempFolder folder_;
};

TEST_F(ModelPath, OfAFileOfAFolderNamesTheFolder) {
  const fs::path model = Folder("a");
  folder_.Write("a/model.safetensors", SafetensorsWriter().Bytes());
  folder_.Write("a/model.safetensors.index.json", R"({"weight_map":{}})");
  folder_.Write("a/config.json", R"({"model_type":"llama"})");
  for (const auto& error :
       {ConfigError(model / "model.safetensors"), WeightsError(model / "model.safetensors"),
        TokenizerError(model / "model.safetensors")}) {
    EXPECT_THAT(error, AllOf(HasSubstr("a/model.safetensors: one safetensors file, expected the "
                                       "folder that holds it beside its config.json, "),
                             HasSubstr(Path("a") + ", or a .gguf file")));
  }
  EXPECT_THAT(ConfigError(model / "model.safetensors.index.json"),
              HasSubstr("an index of safetensors files, no config"));
  EXPECT_THAT(TokenizerError(model / "config.json"),
              HasSubstr("config.json: no tokenizer's file (it has a model_type)"));
  EXPECT_THAT(WeightsError(model / "config.json"),
              AllOf(HasSubstr("a JSON file, which has no weights"), HasSubstr(Path("a"))));
}

TEST_F(ModelPath, OfAHubCacheNamesItsSnapshots) {
  const fs::path root = Folder("models--o--n");
  Folder("models--o--n/refs");
  EXPECT_THAT(ConfigError(root), HasSubstr("has no config.json"));
  Folder("models--o--n/snapshots");
  EXPECT_THAT(ConfigError(root), HasSubstr("expected the folder of a snapshot in it: it has none"));
  for (const char* name : {"aaa", "bbb"}) {
    Folder(std::string("models--o--n/snapshots/") + name);
    folder_.Write(std::string("models--o--n/snapshots/") + name + "/config.json", "{}");
  }
  folder_.Write("models--o--n/refs/main", "bbb");
  for (const auto& error : {ConfigError(root), WeightsError(root), TokenizerError(root)}) {
    EXPECT_THAT(error, HasSubstr("a folder of the Hugging Face hub's cache, expected the folder of "
                                 "a snapshot in it: " +
                                 Path("models--o--n/snapshots/bbb") + ", "));
  }
  EXPECT_THAT(ConfigError(root / "snapshots"),
              AllOf(HasSubstr(Path("models--o--n/snapshots/aaa")), HasSubstr("are each a model")));
}

TEST_F(ModelPath, OfAFolderOfGgufFilesNamesThem) {
  const fs::path model = Folder("g");
  folder_.Write("g/sha256-9f86", GgufWriter().Bytes());
  for (const auto& error : {ConfigError(model), WeightsError(model), TokenizerError(model)}) {
    EXPECT_THAT(error, HasSubstr("it holds a GGUF file, which is given by its own name: " +
                                 Path("g/sha256-9f86")));
  }
  // A config beside it is not its own.
  folder_.Write("g/config.json", R"({"model_type":"llama"})");
  EXPECT_THAT(ConfigError(model), HasSubstr(Path("g/sha256-9f86")));
  folder_.Write("g/q-00001-of-00002.gguf", GgufWriter().Bytes());
  folder_.Write("g/q-00002-of-00002.gguf", GgufWriter().Bytes());
  EXPECT_THAT(ConfigError(model),
              HasSubstr("it holds 2 GGUF files, of which one is given by its own name: " +
                        Path("g/q-00001-of-00002.gguf") + ", " + Path("g/sha256-9f86")));
}

TEST_F(ModelPath, OfAFolderOfOtherWeightsSaysWhich) {
  const fs::path model = Folder("p");
  folder_.Write("p/config.json", R"({"model_type":"llama"})");
  folder_.Write("p/pytorch_model.bin", "PK\3\4");
  for (const auto& error : {ConfigError(model), WeightsError(model)}) {
    EXPECT_THAT(error, HasSubstr("it holds pytorch_model.bin, PyTorch weights, which are not read: "
                                 "save the model as safetensors"));
  }
  const fs::path adapter = Folder("l");
  folder_.Write("l/adapter_config.json", "{}");
  folder_.Write("l/adapter_model.safetensors", SafetensorsWriter().Bytes());
  EXPECT_THAT(ConfigError(adapter), HasSubstr("it holds an adapter"));
}

TEST_F(ModelPath, OfALinkThatLeadsNowhereNamesIt) {
  const fs::path model = Folder("d");
  fs::create_symlink("../blobs/gone", model / "config.json");
  fs::create_symlink("../blobs/gone", model / "model.safetensors");
  fs::create_symlink("../blobs/gone", model / "m.gguf");
  for (const auto& error :
       {ConfigError(model), WeightsError(model), ConfigError(ResolveModel(Path("d/m.gguf")))}) {
    EXPECT_THAT(error, HasSubstr("cannot be opened: No such file or directory (it is a link to "
                                 "../blobs/gone)"));
  }
}

TEST_F(ModelPath, TokenizerModelIsSaidByWhatItIs) {
  const fs::path model = Folder("t");
  folder_.Write("t/tokenizer.model", "\n\x0e\n\5<unk>");
  EXPECT_THAT(TokenizerError(model), HasSubstr("a SentencePiece vocabulary is not supported"));
  folder_.Write("t/tokenizer.model", "IQ== 0\nIg== 1\n");
  EXPECT_THAT(TokenizerError(model), HasSubstr("tokenizer.model: a tiktoken vocabulary"));
  folder_.Write("t/tokenizer.model", kPointer);
  EXPECT_THAT(TokenizerError(model), HasSubstr("tokenizer.model: a Git LFS pointer"));
}

TEST_F(ModelPath, ABigEndianGgufIsNamed) {
  GgufWriter writer;
  writer.version = 0x03000000;
  EXPECT_THAT(ConfigError(folder_.Write("big", writer.Bytes())), HasSubstr("a big-endian GGUF"));
}

TEST_F(ModelPath, PartsOfASplitAreCalledAsTheFirst) {
  const auto part = [](int number, const char* tensor) {
    GgufWriter writer;
    writer.String("general.architecture", "qwen2");
    writer.Number<uint16_t>("split.no", GgufType::kUint16, number);
    writer.Number<uint16_t>("split.count", GgufType::kUint16, 2);
    writer.Float32Tensor(tensor, {1}, {1});
    return writer.Bytes();
  };
  for (const std::string end : {".GGUF", ""}) {
    const auto first = folder_.Write("m-00001-of-00002" + end, part(0, "output_norm.weight"));
    folder_.Write("m-00002-of-00002" + end, part(1, "output.weight"));
    EXPECT_EQ(Checkpoint::Open(first)->tensors().size(), 2u) << end;
  }
}

}  // namespace
}  // namespace kvfold
