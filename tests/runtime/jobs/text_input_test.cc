// Texts that users name.
#include "runtime/jobs/text_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "comm/error.h"
#include "tests/models/error_of.h"
#include "tests/models/temp_folder.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ReadInputTest, ReadsBytesAsTheyAre) {
  const TempFolder folder;
  const std::string bytes("a\0b\r\n\xff", 6);
  EXPECT_EQ(ReadInput(folder.Write("file", bytes)), bytes);
  EXPECT_EQ(ReadInput(folder.Write("empty", "")), "");
  const std::string missing = folder.path() / "missing";
  EXPECT_THAT(ErrorOf([&] { ReadInput(missing); }),
              AllOf(HasSubstr(missing), HasSubstr("No such file")));
  EXPECT_THAT(ErrorOf([&] { ReadInput(folder.path()); }), HasSubstr("is a folder"));
}

}  // namespace
}  // namespace kvfold
