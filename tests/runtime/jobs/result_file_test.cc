// Results that are never lost: what is in the file after every way of ending, and what is refused.
#include "runtime/jobs/result_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/error.h"
#include "tests/models/error_of.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Json = nlohmann::json;

Completion SomeCompletion(const std::string& text) {
  return {.text = text,
          .tokens = {1, 2, 3},
          .finish_reason = "stop",
          .prompt_tokens = 10,
          .chunks = 2,
          .fold_s = 0.5,
          .decode_s = 0.25};
}

class ResultFileTest : public testing::Test {
 protected:
  std::string Contents() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<Json> Records() const {
    std::vector<Json> records;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) records.push_back(Json::parse(line));
    return records;
  }

  TempFolder folder_;
  std::string path_ = folder_.path() / "out.jsonl";
};

TEST_F(ResultFileTest, RecordsAreLinesWithTheFieldsOfTheContract) {
  {
    ResultFile results(path_, /*retry_errors=*/false, "mpi");
    results.Append("a", "k1", SomeCompletion("line one\nline \"two\""));
    results.AppendError("b", "k2", InputError("the prompt is empty"));
    results.AppendError("c", "k3", CapacityError("too long"));
    results.AppendError("d", "k4", IoError("the file went away"));
  }
  const std::vector<Json> records = Records();
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0], Json::parse(R"({"id": "a", "key": "k1", "text": "line one\nline \"two\"",
      "tokens": [1, 2, 3], "prompt_tokens": 10, "new_tokens": 3, "finish_reason": "stop",
      "timings": {"fold_s": 0.5, "decode_s": 0.25, "chunks": 2}, "transport": "mpi"})"));
  EXPECT_EQ(records[1], Json::parse(R"({"id": "b", "key": "k2",
      "error": {"code": "bad_input", "message": "the prompt is empty"}})"));
  EXPECT_EQ(records[2].at("error").at("code"), "does_not_fit");
  EXPECT_EQ(records[3].at("error").at("code"), "failed");
}

TEST_F(ResultFileTest, CompletionAsJsonHasTheSameFields) {
  const Json object = Json::parse(CompletionJson(SomeCompletion("x"), "nccl 2.30.7"));
  EXPECT_EQ(object, Json::parse(R"({"text": "x", "tokens": [1, 2, 3], "prompt_tokens": 10,
      "new_tokens": 3, "finish_reason": "stop",
      "timings": {"fold_s": 0.5, "decode_s": 0.25, "chunks": 2}, "transport": "nccl 2.30.7"})"));
}

TEST_F(ResultFileTest, RecordIsInTheFileWhenAppendReturns) {
  ResultFile results(path_);
  EXPECT_EQ(Contents(), "");
  results.Append("a", "k", SomeCompletion("x"));
  EXPECT_EQ(Records().size(), 1u);
  EXPECT_EQ(Contents().back(), '\n');
}

TEST_F(ResultFileTest, StartedAgainItKnowsWhatIsDone) {
  {
    ResultFile results(path_);
    EXPECT_FALSE(results.Done("a", "k1"));
    results.Append("a", "k1", SomeCompletion("x"));
    EXPECT_TRUE(results.Done("a", "k1"));
    results.AppendError("b", "k2", InputError("refused"));
  }
  {
    ResultFile results(path_);
    EXPECT_TRUE(results.Done("a", "k1"));
    EXPECT_TRUE(results.Done("b", "k2"));  // refused for good
    EXPECT_FALSE(results.Done("c", "k3"));
    results.Append("c", "k3", SomeCompletion("y"));
  }
  EXPECT_EQ(Records().size(), 3u);
}

TEST_F(ResultFileTest, IdDoneUnderAnotherKeyIsRefused) {
  ResultFile results(path_);
  results.Append("a", "k1", SomeCompletion("x"));
  EXPECT_THAT(ErrorOf([&] { results.Done("a", "other"); }),
              AllOf(HasSubstr("\"a\""), HasSubstr(path_)));
}

TEST_F(ResultFileTest, ErrorsAreDoneUnlessTheyAreToBeRunAgain) {
  {
    ResultFile results(path_);
    results.Append("good", "k1", SomeCompletion("x"));
    results.AppendError("bad", "k2", InputError("refused"));
    EXPECT_TRUE(results.Done("bad", "k2"));
  }
  {
    ResultFile results(path_, /*retry_errors=*/true);
    EXPECT_TRUE(results.Done("good", "k1"));
    EXPECT_FALSE(results.Done("bad", "k2"));
    EXPECT_FALSE(results.Done("bad", "another"));  // the document was mended, say
    EXPECT_THAT(ErrorOf([&] { results.Done("good", "another"); }), HasSubstr("\"good\""));
    results.Append("bad", "another", SomeCompletion("y"));
    EXPECT_TRUE(results.Done("bad", "another"));
  }
  // The last record of an id is its result.
  EXPECT_EQ(Records().size(), 3u);
  for (const bool retry_errors : {false, true}) {
    const ResultFile results(path_, retry_errors);
    EXPECT_TRUE(results.Done("bad", "another"));
    EXPECT_THAT(ErrorOf([&] { results.Done("bad", "k2"); }), HasSubstr("\"bad\""));
  }
}

TEST_F(ResultFileTest, ErrorUnderAnotherKeyIsRefusedByName) {
  ResultFile results(path_);
  results.AppendError("a", "k", InputError("refused"));
  EXPECT_THAT(ErrorOf([&] { results.Done("a", "other"); }),
              AllOf(HasSubstr("\"a\""), HasSubstr("--retry-errors"), HasSubstr(path_)));
}

// A document that could not be read has no bytes for a key: it may come later and the error still
// counts. A result never does.
TEST_F(ResultFileTest, ErrorOfAMissingDocumentCountsWhenItHasCome) {
  ResultFile results(path_);
  results.AppendError("a", "without", InputError("cannot read book.txt"));
  EXPECT_TRUE(results.Done("a", "with", "without"));
  EXPECT_THAT(ErrorOf([&] { results.Done("a", "with", "other question, without"); }),
              HasSubstr("--retry-errors"));
  results.Append("b", "without", SomeCompletion("x"));
  EXPECT_THAT(ErrorOf([&] { results.Done("b", "with", "without"); }), HasSubstr("another output"));
}

TEST_F(ResultFileTest, TornLastLineIsDroppedAndDoneAgain) {
  {
    ResultFile results(path_);
    results.Append("a", "k1", SomeCompletion("x"));
    results.Append("b", "k2", SomeCompletion("y"));
  }
  const std::string whole = Contents();
  const size_t first_line = whole.find('\n') + 1;
  // Torn anywhere in the second line, even just before its end.
  for (const size_t bytes : {first_line + 1, first_line + 9, whole.size() - 2}) {
    const std::string torn = whole.substr(0, bytes);
    folder_.Write("out.jsonl", torn);
    ResultFile results(path_);
    EXPECT_TRUE(results.Done("a", "k1"));
    EXPECT_FALSE(results.Done("b", "k2"));
    EXPECT_EQ(Contents(), torn);  // nothing is written before there is something to write
    results.Append("b", "k2", SomeCompletion("y"));
    EXPECT_EQ(Contents(), whole);
  }
}

// Where nothing but a torn line stands, that may be the beginning of anybody's file: without a
// whole key it is refused, and with one it is kept, on a line of its own.
TEST_F(ResultFileTest, TornLineAloneIsNeverCut) {
  for (const std::string alone :
       {R"({)", R"({"id")", R"({"id":"my thesis, three years of work, one line, no end)",
        R"({"id":"a",)", R"({"id":"a","key":"0011)"}) {
    folder_.Write("out.jsonl", alone);
    EXPECT_THAT(ErrorOf([&] { ResultFile{path_}; }), HasSubstr("not a record"));
    EXPECT_EQ(Contents(), alone);
  }
  const std::string torn =
      R"({"id":"a","key":"00112233445566778899aabbccddeeff","text":"my work of years)";
  folder_.Write("out.jsonl", torn);
  {
    ResultFile results(path_);
    EXPECT_FALSE(results.Done("a", "00112233445566778899aabbccddeeff"));
    results.Append("a", "k1", SomeCompletion("x"));
  }
  EXPECT_TRUE(Contents().starts_with(torn + "\n{\"id\":\"a\",\"key\":\"k1\""));
  EXPECT_TRUE(ResultFile(path_).Done("a", "k1"));
}

TEST_F(ResultFileTest, ZerosThatACrashHasLeftAreDropped) {
  ResultFile(path_).Append("a", "k1", SomeCompletion("x"));
  const std::string whole = Contents();
  const std::string zeros(5000, '\0');
  for (const std::string& left : {zeros, R"({"id":"b","key":"k2","te)" + zeros}) {
    folder_.Write("out.jsonl", whole + left);
    ResultFile results(path_);
    EXPECT_TRUE(results.Done("a", "k1"));
    EXPECT_FALSE(results.Done("b", "k2"));
    results.AppendError("c", "k3", InputError("refused"));
    EXPECT_EQ(Records().size(), 2u);
    EXPECT_EQ(Contents().find('\0'), std::string::npos);
  }
  folder_.Write("out.jsonl", whole.substr(0, whole.size() - 1) + zeros);  // but for its line's end
  ResultFile results(path_);
  EXPECT_FALSE(results.Done("a", "k1"));  // so that something is appended, and the zeros cut off
  results.Append("a", "k1", SomeCompletion("x"));
  EXPECT_EQ(Contents(), whole);
}

TEST_F(ResultFileTest, WholeLastLineWithoutAnEndIsARecord) {
  ResultFile(path_).Append("a", "k1", SomeCompletion("x"));
  const std::string whole = Contents();
  for (const char* end : {"", "\r", " "}) {
    folder_.Write("out.jsonl", whole.substr(0, whole.size() - 1) + end);
    ResultFile results(path_);
    EXPECT_TRUE(results.Done("a", "k1"));
    results.AppendError("b", "k2", InputError("refused"));
    EXPECT_EQ(Records().size(), 2u);
  }
}

TEST_F(ResultFileTest, FileThatWentThroughAnEditorGoesOn) {
  ResultFile(path_).Append("a", "k1", SomeCompletion("x"));
  ResultFile(path_).AppendError("b", "k2", InputError("refused"));
  const std::string whole = Contents();
  const size_t line = whole.find('\n');
  const std::string first = whole.substr(0, line);
  const std::string second = whole.substr(line + 1, whole.size() - line - 2);
  const std::string mark = "\xef\xbb\xbf";
  for (const std::string& edited : {first + "\r\n" + second + "\r\n", mark + whole,
                                    std::string("\n") + first + "\n\n \t\n" + second + "\n\n",
                                    mark + "\r\n" + first + "\r\n" + second, whole + " \t",
                                    Json::parse(first).dump() + "\n" + second + "\n"}) {
    folder_.Write("out.jsonl", edited);
    {
      ResultFile results(path_);
      EXPECT_TRUE(results.Done("a", "k1")) << edited;
      EXPECT_TRUE(results.Done("b", "k2")) << edited;
      EXPECT_EQ(Contents(), edited);
      results.Append("c", "k3", SomeCompletion("y"));
    }
    EXPECT_TRUE(Contents().starts_with(edited));
    EXPECT_TRUE(ResultFile(path_).Done("c", "k3")) << Contents();
  }
  for (const std::string& empty : {std::string(), std::string("\n"), std::string("\r\n\n"), mark}) {
    folder_.Write("out.jsonl", empty);
    ResultFile results(path_);
    results.Append("c", "k3", SomeCompletion("y"));
    EXPECT_TRUE(Contents().starts_with(empty));
  }
}

TEST_F(ResultFileTest, AnotherKindOfFileIsRefusedAndLeftAlone) {
  for (const char* line :
       {"hello", "[1]", "{}", "null", R"({"id": "a"})", R"({"id": 1, "key": "k"})",
        R"({"id": "a", "key": null})", R"({"id": "a", "key": "k")",
        R"({"id": "a", "key": "k", "value": 3})", R"({"id": "a", "key": "k", "text": "t"})",
        R"({"id": "a", "key": "k", "error": "e"})"}) {
    const std::string contents =
        ErrorRecord("z", "k", InputError("refused")) + "\n" + line + "\ntorn";
    folder_.Write("out.jsonl", contents);
    EXPECT_THAT(ErrorOf([&] { ResultFile{path_}; }),
                AllOf(HasSubstr(path_ + ", line 2"), HasSubstr("not a record")))
        << line;
    EXPECT_EQ(Contents(), contents);
  }
}

// Without an end it could be torn: it is refused all the same where no record begins so.
TEST_F(ResultFileTest, LastLineThatIsNoBeginningOfARecordIsLeftAlone) {
  const std::string record = ErrorRecord("z", "k", InputError("refused")) + "\n";
  std::string archive("\x1f\x8b\x08\0\0\0", 6);
  for (const std::string& tail :
       {std::string("a letter"), std::string(R"({"thesis": "three years of work"})"),
        std::string(R"({"id": "a", "prompt": "hello"})"),
        std::string(R"({"id":"a","prompt":"hello"})"), std::string(R"({"id":"a"})"),
        std::string(R"({"id":"a","key":"k","value":1)"), std::string(R"({"id":"a","key":"k"})"),
        std::string(R"({"id":"a","key":"k","text":"t"} # kept)"), std::string(R"({"id":7)"),
        std::string("{\"id\":\"a\x01"), std::string("\"id\""), archive}) {
    for (const std::string& before : {std::string(), record, std::string("\n") + record}) {
      const std::string contents = before + tail;
      folder_.Write("out.jsonl", contents);
      EXPECT_THAT(ErrorOf([&] { ResultFile{path_}; }),
                  AllOf(HasSubstr(path_ + ", line "), HasSubstr("not a record")))
          << contents;
      EXPECT_EQ(Contents(), contents);
    }
  }
  for (const std::string& alone :
       {std::string(1 << 12, '\0'), std::string("{\n"), std::string("{\n{")}) {
    folder_.Write("out.jsonl", alone);
    EXPECT_THAT(ErrorOf([&] { ResultFile{path_}; }), HasSubstr("not a record"));
    EXPECT_EQ(Contents(), alone);
  }
}

// A file that is written by another process where there are no locks.
TEST_F(ResultFileTest, FileThatHasChangedSinceItWasReadIsLeftAlone) {
  ResultFile(path_).Append("a", "k1", SomeCompletion("x"));
  const std::string torn = Contents() + R"({"id":"b)";
  folder_.Write("out.jsonl", torn);
  ResultFile results(path_);
  std::ofstream(path_, std::ios::app) << "more";
  EXPECT_THROW(results.Append("b", "k2", SomeCompletion("y")), IoError);
  EXPECT_EQ(Contents(), torn + "more");
}

TEST_F(ResultFileTest, DocumentThatIsTheOutputIsRefused) {
  const ResultFile results(path_);
  EXPECT_THAT(ErrorOf([&] { results.RefuseDocument(path_); }), HasSubstr("document"));
  results.RefuseDocument(folder_.Write("book.txt", ""));
}

TEST_F(ResultFileTest, OneWriterAtATime) {
  std::optional<ResultFile> first(std::in_place, path_);
  first->Append("a", "k", SomeCompletion("x"));
  EXPECT_THAT(ErrorOf([&] { ResultFile{path_}; }),
              AllOf(HasSubstr(path_), HasSubstr("being written by another process")));
  first.reset();
  EXPECT_TRUE(ResultFile(path_).Done("a", "k"));
}

TEST_F(ResultFileTest, PlaceThatCannotBeWrittenIsNamed) {
  const std::string nowhere = folder_.path() / "no such folder" / "out.jsonl";
  EXPECT_THAT(ErrorOf([&] { ResultFile{nowhere}; }), HasSubstr(nowhere));
  EXPECT_THAT(ErrorOf([&] { ResultFile{folder_.path().string()}; }),
              HasSubstr(folder_.path().string()));
}

TEST_F(ResultFileTest, TextThatIsNotUtf8IsStillARecord) {
  {
    ResultFile results(path_);
    results.Append("a", "k", SomeCompletion("x\xff"));
    results.AppendError("\xc3", "k", InputError("\xc3"));
  }
  EXPECT_EQ(Records().at(0).at("text"), "x\xef\xbf\xbd");
  EXPECT_EQ(Records().size(), 2u);
  EXPECT_EQ(Json::parse(CompletionJson(SomeCompletion("x\xff"), "local")).at("text"),
            "x\xef\xbf\xbd");
}

// Files of this process may not grow beyond a size while it lives: a full disk, where a write stops
// in the middle of a record.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(size_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    signal_ = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  rlimit before_{};
  void (*signal_)(int) = SIG_DFL;
};

TEST_F(ResultFileTest, WriteThatFailsLeavesWholeRecords) {
  ResultFile results(path_);
  results.Append("a", "k1", SomeCompletion("x"));
  const std::string before = Contents();
  std::string failure;
  {
    const FileSizeLimit limit(before.size() + 20);
    try {
      results.Append("b", "k2", SomeCompletion("y"));
    } catch (const IoError& error) {
      failure = error.what();
    }
  }
  EXPECT_THAT(failure, HasSubstr(path_));
  EXPECT_EQ(Contents(), before);
  EXPECT_FALSE(results.Done("b", "k2"));
  results.Append("b", "k2", SomeCompletion("y"));  // there is room again
  EXPECT_EQ(Records().size(), 2u);
}

// A device is written to and never read: reading it might never end.
TEST_F(ResultFileTest, DeviceIsWrittenButNotRead) {
  for (int i = 0; i < 2; ++i) {
    ResultFile results(std::string("/dev/null"));
    ResultFile beside(std::string("/dev/null"));
    results.Append("a", "k", SomeCompletion("x"));
  }
  ResultFile full(std::string("/dev/full"));
  EXPECT_THROW(full.Append("a", "k", SomeCompletion("x")), IoError);
  EXPECT_FALSE(full.Done("a", "k"));
}

}  // namespace
}  // namespace kvfold
