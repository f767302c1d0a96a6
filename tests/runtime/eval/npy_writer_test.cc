#include "runtime/eval/npy_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/files/read_file.h"
#include "tests/models/temp_folder.h"
#include "tests/support/all_close.h"
#include "tests/support/fixture.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string Contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string FailureOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error";
}

class NpyWriterTest : public testing::Test {
 protected:
  std::string Place() const { return path_; }
  // A row of so many columns under the name.
  void Matrix(const std::vector<float>& row) const {
    NpyWriter writer(Place(), 1, static_cast<int64_t>(row.size()));
    writer.Append(row);
    writer.Close();
  }

  TempFolder folder_;
  std::filesystem::path path_ = folder_.path() / "logits.npy";
  std::filesystem::path partial_path_ = folder_.path() / "logits.npy.partial";
};

// numpy.lib.format, version 1.0: magic, version, little-endian length of the header, a Python
// dictionary padded with spaces and ended by a newline so that the data starts at a multiple of 64.
TEST_F(NpyWriterTest, WritesWhatNumpyReads) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{3, 5}, {1, 1}, {0, 7}, {1000, 3}, {12, 34567}}) {
    std::vector<float> want;
    {
      NpyWriter writer(Place(), rows, cols);
      for (int64_t row = 0; row < rows; ++row) {
        std::vector<float> values(static_cast<size_t>(cols));
        for (size_t col = 0; col < values.size(); ++col)
          values[col] = static_cast<float>(row) - 0.25f * static_cast<float>(col);
        values[0] = row == 0 ? -std::numeric_limits<float>::infinity() : -0.0f;
        writer.Append(values);
        want.insert(want.end(), values.begin(), values.end());
      }
      writer.Close();
    }
    const std::string bytes = Contents(path_);
    ASSERT_GE(bytes.size(), 64u);
    EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    const size_t header_bytes =
        static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
    EXPECT_EQ((10 + header_bytes) % 64, 0u);
    const std::string header = bytes.substr(10, header_bytes);
    const std::string dictionary =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
    EXPECT_THAT(header, StartsWith(dictionary));
    EXPECT_EQ(header.back(), '\n');
    EXPECT_EQ(header.find_first_not_of(' ', dictionary.size()), header.size() - 1);
    ASSERT_EQ(bytes.size(), 10 + header_bytes + want.size() * 4);
    EXPECT_TRUE(SameBits(ReadNpy<float>(path_), want));
    EXPECT_FALSE(std::filesystem::exists(partial_path_));
  }
}

TEST_F(NpyWriterTest, FileAppearsOnlyWhenItIsWhole) {
  Matrix({3, 4, 5});
  const std::string before = Contents(path_);
  {
    NpyWriter writer(Place(), 2, 2);
    writer.Append(std::vector<float>{1, 2});
    EXPECT_TRUE(std::filesystem::exists(partial_path_));
    EXPECT_EQ(Contents(path_), before);
  }  // dropped before it was whole
  EXPECT_FALSE(std::filesystem::exists(partial_path_));
  EXPECT_EQ(Contents(path_), before);
  {
    NpyWriter writer(Place(), 1, 2);
    writer.Append(std::vector<float>{1, 2});
    writer.Close();
  }
  EXPECT_EQ(ReadNpy<float>(path_), (std::vector<float>{1, 2}));
}

TEST_F(NpyWriterTest, RowsThatDoNotFitTheShapeAreABug) {
  NpyWriter writer(Place(), 2, 3);
  EXPECT_THROW(writer.Append(std::vector<float>(2)), std::logic_error);
  EXPECT_THROW(writer.Append(std::vector<float>(4)), std::logic_error);
  writer.Append(std::vector<float>(3));
  EXPECT_THROW(writer.Close(), std::logic_error);
  writer.Append(std::vector<float>(3));
  EXPECT_THROW(writer.Append(std::vector<float>(3)), std::logic_error);
  writer.Close();
}

TEST_F(NpyWriterTest, PlaceThatCannotBeWrittenIsNamed) {
  const auto nowhere = folder_.path() / "no such folder" / "logits.npy";
  EXPECT_THAT(FailureOf([&] { NpyWriter(nowhere.string(), 1, 1); }), HasSubstr(nowhere.string()));
}

// The partial file is a link to a device on which every write fails: a full disk.
TEST_F(NpyWriterTest, FullDiskIsSaidAndLeavesNothing) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "This system has no /dev/full.";
  // More than any buffer: the write fails. Less: Close does.
  for (const size_t cols : {size_t{1} << 20, size_t{4}}) {
    std::filesystem::create_symlink("/dev/full", partial_path_);
    const std::string failure = FailureOf([&] {
      NpyWriter writer(Place(), 1, static_cast<int64_t>(cols));
      writer.Append(std::vector<float>(cols, 1.0f));
      writer.Close();
    });
    EXPECT_THAT(failure, HasSubstr("logits.npy.partial"));
    EXPECT_THAT(failure, HasSubstr("No space left on device"));
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_FALSE(std::filesystem::is_symlink(partial_path_));
  }
}

TEST_F(NpyWriterTest, NameThatIsAFolderIsSaidAndLeavesNothing) {
  std::filesystem::create_directory(path_);
  folder_.Write("logits.npy/inside", "");
  EXPECT_THAT(FailureOf([&] { Matrix({1}); }), HasSubstr("is a folder"));
  EXPECT_FALSE(std::filesystem::exists(partial_path_));
}

TEST_F(NpyWriterTest, OnlyAMatrixOfItsKindIsReplaced) {
  Matrix({1, 2});
  const std::string matrix = Contents(path_);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string other = matrix;
    return other.replace(other.find(from), from.size(), to);
  };
  for (const std::string& bytes :
       {std::string("[1, 2, 3]"), std::string("text\n"), std::string(1000, '\0'),
        matrix.substr(0, 40), std::string("\x93NUMPY\x01\x00", 8), with("<f4", "<f8"),
        with("False", "True "), with("(1, 2)", "(1,)  "), with("\x01", "\x02")}) {
    for (const auto& path : {path_, partial_path_}) {
      std::filesystem::remove(path_);
      std::filesystem::remove(partial_path_);
      std::ofstream(path, std::ios::binary) << bytes;
      EXPECT_THAT(FailureOf([&] {
                    Matrix({5, 6});
                  }),
                  AllOf(HasSubstr(path.string()), HasSubstr("name another file")));
      EXPECT_EQ(Contents(path), bytes);
    }
  }
  std::filesystem::remove(partial_path_);
  for (const std::string& bytes : {matrix, std::string()}) {
    folder_.Write("logits.npy", bytes);
    folder_.Write("logits.npy.partial", bytes);  // of a job that was killed
    Matrix({5, 6, 7});
    EXPECT_EQ(ReadNpy<float>(path_), (std::vector<float>{5, 6, 7}));
    EXPECT_FALSE(std::filesystem::exists(partial_path_));
  }
}

TEST_F(NpyWriterTest, OneWriterAtATime) {
  NpyWriter writer(Place(), 1, 1);
  EXPECT_THAT(FailureOf([&] { Matrix({2}); }), HasSubstr("another process"));
  writer.Append(std::vector<float>{1});
  writer.Close();
  EXPECT_EQ(ReadNpy<float>(path_), std::vector<float>{1});
}

TEST_F(NpyWriterTest, InputIsNotReplaced) {
  Matrix({1, 2});
  const std::string before = Contents(path_);
  std::filesystem::create_hard_link(path_, folder_.path() / "link");
  EXPECT_THAT(FailureOf([&] {
                NpyWriter(OutputPlace(path_, {ReadBy("--tokens", folder_.path() / "link")}), 1, 1);
              }),
              HasSubstr("--tokens"));
  EXPECT_EQ(Contents(path_), before);
}

TEST_F(NpyWriterTest, LinkStaysAndItsFileIsReplaced) {
  const auto target = folder_.path() / "target.npy";
  for (int i = 0; i < 2; ++i) {  // it leads nowhere at first
    if (i == 0) std::filesystem::create_symlink("target.npy", path_);
    Matrix({1, 2, 3});
    EXPECT_TRUE(std::filesystem::is_symlink(path_));
    EXPECT_FALSE(std::filesystem::is_symlink(target));
    EXPECT_EQ(ReadNpy<float>(target), (std::vector<float>{1, 2, 3}));
  }
}

TEST_F(NpyWriterTest, PipesAndDevicesStayWhatTheyAre) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = ReadFile(path_); });
  Matrix({1, 2, 3});
  reader.join();
  EXPECT_TRUE(std::filesystem::is_fifo(path_));
  std::filesystem::remove(path_);
  Matrix({1, 2, 3});
  EXPECT_EQ(got, Contents(path_));
  NpyWriter nothing(std::string("/dev/null"), 0, 1);
  nothing.Close();
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

}  // namespace
}  // namespace kvfold
