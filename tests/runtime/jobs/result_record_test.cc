// What is known again as a record, and what of one a write that broke off leaves.
#include "runtime/jobs/result_record.h"

#include <gtest/gtest.h>

namespace kvfold {
namespace {

const Completion kCompletion = {.text = "a \"line\" \\ \n \xc3\xa9\xf0\x9f\x99\x82",
                                .tokens = {1, 2, 3},
                                .finish_reason = "stop",
                                .prompt_tokens = 10,
                                .chunks = 2,
                                .fold_s = 0.5e-7,
                                .decode_s = 0.25};
constexpr const char* kId = "an \"id\" \\ of \xc3\xa9\n";

TEST(ResultRecordTest, WhatIsWrittenIsRead) {
  const auto result = ReadRecord(CompletionRecord(kId, "k1", kCompletion, "local"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->id, kId);
  EXPECT_EQ(result->key, "k1");
  EXPECT_FALSE(result->error);
  const auto error = ReadRecord(ErrorRecord(kId, "k2", CapacityError("too \"long\"")));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->id, kId);
  EXPECT_EQ(error->key, "k2");
  EXPECT_TRUE(error->error);
}

TEST(ResultRecordTest, EveryBeginningOfARecordIsTorn) {
  for (const std::string& record : {CompletionRecord(kId, "k1", kCompletion, "local"),
                                    ErrorRecord(kId, "k2", InputError("a \"word\" \\ \xc3\xa9"))}) {
    for (size_t n = 1; n < record.size(); ++n) {
      const std::string torn = record.substr(0, n);
      EXPECT_TRUE(IsTornRecord(torn)) << torn;
      EXPECT_FALSE(ReadRecord(torn)) << torn;
      // Another byte in its place is no beginning of one, but within a string or a number.
      if (n <= 6) {
        EXPECT_FALSE(IsTornRecord(torn.substr(0, n - 1) + "#")) << torn;
      }
    }
    EXPECT_FALSE(IsTornRecord(record));
    EXPECT_FALSE(IsTornRecord(record + "}"));
    EXPECT_FALSE(IsTornRecord(record + "\n"));
    EXPECT_FALSE(IsTornRecord(" " + record.substr(0, 20)));
  }
}

}  // namespace
}  // namespace kvfold
