// Files that are written: what may be, what is left where it fails, and that nothing waits for
// ever.
#include "comm/files/output_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <thread>

#include "comm/error.h"
#include "comm/files/read_file.h"
#include "tests/models/error_of.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct GivenUp {};

// Gives up when it is asked so many times.
WaitCheck GiveUpAfter(int n) {
  return [n, asked = 0]() mutable {
    if (++asked >= n) throw GivenUp();
  };
}

std::string FailureOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const IoError& error) {
    return error.what();
  }
  return "no IoError";
}

std::string FdPath(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

class OutputFileTest : public testing::Test {
 protected:
  OutputFileTest() { std::signal(SIGPIPE, SIG_IGN); }
  ~OutputFileTest() override {
    for (const int end : pipe_) {
      if (end >= 0) close(end);
    }
  }
  void OpenPipe() { ASSERT_EQ(pipe2(pipe_.data(), O_CLOEXEC), 0); }
  void ClosePipe(int end) { close(std::exchange(pipe_[static_cast<size_t>(end)], -1)); }
  std::string Fifo() const {
    const std::string path = folder_.path() / "fifo";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }

  TempFolder folder_;
  std::string path_ = folder_.path() / "out";
  std::array<int, 2> pipe_ = {-1, -1};
};

TEST_F(OutputFileTest, IsNoInputByWhateverName) {
  const std::string input = folder_.Write("input", "text");
  const std::string symbolic = folder_.path() / "symbolic";
  const std::string hard = folder_.path() / "hard";
  std::filesystem::create_symlink("input", symbolic);
  std::filesystem::create_hard_link(input, hard);
  const int descriptor = open(input.c_str(), O_RDONLY | O_CLOEXEC);
  for (const std::string& name :
       {input, symbolic, hard, FdPath(descriptor),
        folder_.path().string() + "/../" + folder_.path().filename().string() + "/input"}) {
    for (const auto& [output, other] : {std::pair(name, input), std::pair(input, name)}) {
      EXPECT_THAT(ErrorOf([&] { OutputFile(OutputPlace(output, {ReadBy("--prompts", other)})); }),
                  AllOf(HasSubstr(output), HasSubstr("read by --prompts")));
    }
  }
  close(descriptor);
  EXPECT_EQ(ReadFile(input), "text");
  // Another file of the same bytes is another file, and a device may be both.
  OutputFile(OutputPlace(folder_.Write("other", "text"), {ReadBy("--prompts", input)}));
  OutputFile(OutputPlace("/dev/null", {ReadBy("--prompts", "/dev/null")}));
}

TEST_F(OutputFileTest, InputThatIsNotThereIsNotMade) {
  EXPECT_THAT(ErrorOf([&] { OutputFile(OutputPlace(path_, {ReadBy("--prompts", path_)})); }),
              AllOf(HasSubstr("cannot read " + path_), HasSubstr("No such file")));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(OutputFileTest, PipeIsNotItsOwnInput) {
  const std::string fifo = Fifo();
  EXPECT_THAT(ErrorOf([&] { OutputFile(OutputPlace(fifo, {ReadBy("--prompts", fifo)})); }),
              HasSubstr("read by --prompts"));
}

TEST_F(OutputFileTest, FileMetLaterIsRefusedToo) {
  const OutputFile file(path_);
  EXPECT_THAT(ErrorOf([&] { file.Refuse(ReadBy("a request as its document", path_)); }),
              HasSubstr("read by a request as its document"));
  file.Refuse(ReadBy("a request as its document", folder_.path() / "not there"));
}

TEST_F(OutputFileTest, FoldersAreRefused) {
  EXPECT_THAT(ErrorOf([&] { OutputFile(folder_.path().string()); }), HasSubstr("is a folder"));
}

TEST_F(OutputFileTest, OpeningChangesNothing) {
  folder_.Write("out", "somebody else's");
  {
    OutputFile file(path_);
    file.Lock();
    EXPECT_EQ(file.Size(), 15);
    std::array<char, 32> bytes{};
    EXPECT_EQ(file.ReadAt(9, bytes), 6u);
    EXPECT_EQ(std::string_view(bytes.data(), 6), "else's");
  }
  EXPECT_EQ(ReadFile(path_), "somebody else's");
  OutputFile file(path_);
  file.Append(" and mine\n");
  EXPECT_EQ(ReadFile(path_), "somebody else's and mine\n");
  EXPECT_TRUE(file.Cut(9));
  EXPECT_EQ(ReadFile(path_), "somebody ");
}

TEST_F(OutputFileTest, OneLockAtATime) {
  auto first = std::make_unique<OutputFile>(path_);
  first->Lock();
  OutputFile second(path_);
  EXPECT_THAT(ErrorOf([&] { second.Lock(); }), HasSubstr("being written by another process"));
  first.reset();
  second.Lock();
}

TEST_F(OutputFileTest, FileReplacedWhileItIsOpenedIsNotTaken) {
  OutputFile file(path_);
  std::filesystem::rename(folder_.Write("other", "newer"), path_);
  EXPECT_THAT(ErrorOf([&] { file.Lock(); }), HasSubstr("another process"));
}

TEST_F(OutputFileTest, FileThatIsRemovedTakesNothingMore) {
  OutputFile file(path_);
  file.Append("a\n");
  std::filesystem::remove(path_);
  EXPECT_THAT(FailureOf([&] { file.Append("b\n"); }), HasSubstr("removed or replaced"));
}

TEST_F(OutputFileTest, RenamedFileIsWhole) {
  folder_.Write("old", "older");
  OutputFile file(path_);
  file.Write("newer");
  file.Rename(folder_.path() / "old");
  EXPECT_EQ(ReadFile(folder_.path() / "old"), "newer");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(OutputFileTest, PipeWhoseReaderHasGoneIsAnError) {
  OpenPipe();
  OutputFile file(FdPath(pipe_[1]));
  EXPECT_FALSE(file.regular());
  file.Append("a");
  ClosePipe(0);
  EXPECT_THAT(FailureOf([&] { file.Append("b"); }), HasSubstr("Broken pipe"));
  // Gone before it is opened: opened anew it would wait for a reader.
  OutputFile late(FdPath(pipe_[1]));
  EXPECT_THAT(FailureOf([&] { late.Append("b"); }), HasSubstr("Broken pipe"));
}

TEST_F(OutputFileTest, EndOfAPipeThatIsForReadingIsRefused) {
  OpenPipe();
  EXPECT_THAT(FailureOf([&] { OutputFile(FdPath(pipe_[0])); }), HasSubstr("not open for writing"));
}

TEST_F(OutputFileTest, FullPipeAsksWhetherToGoOn) {
  OpenPipe();
  OutputFile file(OutputPlace(FdPath(pipe_[1]), {}, GiveUpAfter(2)));
  EXPECT_THROW(file.Write(std::string(size_t{1} << 20, 'x')), GivenUp);
}

TEST_F(OutputFileTest, FullPipeGoesOnWhenItIsRead) {
  OpenPipe();
  OutputFile file(FdPath(pipe_[1]));
  const std::string bytes(size_t{1} << 20, 'x');
  std::thread writer([&] {
    file.Write(bytes);
    close(std::exchange(pipe_[1], -1));
  });
  std::string got;
  std::array<char, 1000> block;
  while (got.size() < bytes.size()) {
    const ssize_t n = read(pipe_[0], block.data(), block.size());
    ASSERT_GT(n, 0);
    got.append(block.data(), static_cast<size_t>(n));
  }
  writer.join();
  EXPECT_TRUE(got == bytes);
}

TEST_F(OutputFileTest, FifoWithoutAReaderAsksWhetherToGoOn) {
  EXPECT_THROW(OutputFile(OutputPlace(Fifo(), {}, GiveUpAfter(2))), GivenUp);
}

TEST_F(OutputFileTest, FifoGoesOnWhenItsReaderComes) {
  const std::string fifo = Fifo();
  std::string got;
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    got = ReadFile(fifo);
  });
  { OutputFile(fifo).Write("text"); }
  reader.join();
  EXPECT_EQ(got, "text");
}

TEST_F(OutputFileTest, SocketThatWasHandedOverIsWritten) {
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipe_.data()), 0);
  // The same socket may be input and output, as inetd hands it over.
  OutputFile file(OutputPlace(FdPath(pipe_[1]), {ReadBy("--prompts", FdPath(pipe_[1]))}));
  file.Write("text");
  std::array<char, 8> block{};
  EXPECT_EQ(read(pipe_[0], block.data(), block.size()), 4);
  ClosePipe(0);
  EXPECT_THAT(FailureOf([&] { file.Append("b"); }), HasSubstr("Broken pipe"));
}

TEST_F(OutputFileTest, FullDeviceIsAnError) {
  OutputFile file(std::string("/dev/full"));
  EXPECT_THAT(FailureOf([&] { file.Append("a"); }), HasSubstr("No space left"));
}

TEST_F(OutputFileTest, ReadingAFifoWithoutAWriterAsksWhetherToGoOn) {
  EXPECT_THROW(ReadFile(Fifo(), GiveUpAfter(2)), GivenUp);
}

TEST_F(OutputFileTest, PipeWhoseWriterHasGoneIsReadToItsEnd) {
  OpenPipe();
  ASSERT_EQ(write(pipe_[1], "text", 4), 4);
  ClosePipe(1);
  EXPECT_EQ(ReadFile(FdPath(pipe_[0])), "text");
}

}  // namespace
}  // namespace kvfold
