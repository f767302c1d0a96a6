#include "launcher/options/byte_size.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "comm/error.h"

namespace kvfold {
namespace {

TEST(ParseBytes, UnitsOfTwoAndOfTen) {
  EXPECT_EQ(ParseBytes("--x", "1"), 1);
  EXPECT_EQ(ParseBytes("--x", "1B"), 1);
  EXPECT_EQ(ParseBytes("--x", "1073741824"), int64_t{1} << 30);
  EXPECT_EQ(ParseBytes("--x", "40GiB"), int64_t{40} << 30);
  EXPECT_EQ(ParseBytes("--x", "40GB"), 40'000'000'000);
  EXPECT_EQ(ParseBytes("--x", "512MiB"), int64_t{1} << 29);
  EXPECT_EQ(ParseBytes("--x", "3MB"), 3'000'000);
  EXPECT_EQ(ParseBytes("--x", "3KB"), 3'000);
  EXPECT_EQ(ParseBytes("--x", "3KiB"), 3'072);
  EXPECT_EQ(ParseBytes("--x", "2TiB"), int64_t{2} << 40);
  EXPECT_EQ(ParseBytes("--x", "2TB"), 2'000'000'000'000);
  EXPECT_EQ(ParseBytes("--x", "1.5GiB"), int64_t{3} << 29);
  EXPECT_EQ(ParseBytes("--x", "0.5KiB"), 512);
  EXPECT_EQ(ParseBytes("--x", "80G"), int64_t{80} << 30);
  EXPECT_EQ(ParseBytes("--x", "80g"), int64_t{80} << 30);
  EXPECT_EQ(ParseBytes("--x", "3K"), 3'072);
  EXPECT_EQ(ParseBytes("--x", "3M"), 3'145'728);
  EXPECT_EQ(ParseBytes("--x", "2T"), int64_t{2} << 40);
  EXPECT_EQ(ParseBytes("--x", "40Gi"), int64_t{40} << 30);
  EXPECT_EQ(ParseBytes("--x", "40gib"), int64_t{40} << 30);
  EXPECT_EQ(ParseBytes("--x", "40gb"), 40'000'000'000);
  EXPECT_EQ(ParseBytes("--x", "40.0 GiB"), int64_t{40} << 30);  // as this program writes it
}

TEST(ParseBytes, RefusesTheRestByNameOfOptionAndText) {
  for (const std::string text :
       {"",      "GiB",   "nonsense",   "40  GiB",  " 40GiB", "40GiB ", "40iB", "40Gii",
        "-1",    "-1GiB", "0",          "0GiB",     "0.1",    "nan",    "inf",  "infGiB",
        "1e400", "9e18",  "9000000TiB", "40GiBGiB", "0x10",   "1,5GiB"}) {
    try {
      const int64_t bytes = ParseBytes("--device-memory", text);
      FAIL() << "\"" << text << "\" gave " << bytes;
    } catch (const InputError& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find("--device-memory"), std::string::npos) << what;
      EXPECT_NE(what.find("\"" + text + "\""), std::string::npos) << what;
      EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    }
  }
}

TEST(ParseBytes, LargestIsBelowTheLimit) {
  EXPECT_EQ(ParseBytes("--x", "8000000TB"), 8'000'000'000'000'000'000);
}

}  // namespace
}  // namespace kvfold
