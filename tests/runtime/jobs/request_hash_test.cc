#include "runtime/jobs/request_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace kvfold {
namespace {

TEST(RequestHashTest, IsThirtyTwoHexadecimalDigitsAndAFunctionOfTheParts) {
  const std::string hash = RequestHash({"model", "prompt", "options"});
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(hash.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(RequestHash({"model", "prompt", "options"}), hash);
  EXPECT_NE(hash.substr(0, 16), hash.substr(16));
}

TEST(RequestHashTest, PartsAreToldApart) {
  const std::string zero(1, '\0');
  const std::set<std::string> hashes = {
      RequestHash({}),           RequestHash({""}),        RequestHash({"", ""}),
      RequestHash({"abc"}),      RequestHash({"ab", "c"}), RequestHash({"a", "bc"}),
      RequestHash({"abc", ""}),  RequestHash({"", "abc"}), RequestHash({"c", "ab"}),
      RequestHash({"1:a"}),      RequestHash({"1:", "a"}), RequestHash({"a", "1:b"}),
      RequestHash({"a1:b"}),     RequestHash({zero}),      RequestHash({zero + zero}),
      RequestHash({zero, zero}), RequestHash({"a" + zero})};
  EXPECT_EQ(hashes.size(), 17u);
}

TEST(RequestHashTest, EveryBitOfALongPartCounts) {
  std::string document(10'000, 'x');
  std::set<std::string> halves[2];
  for (const size_t at : {size_t{0}, size_t{1}, size_t{5000}, size_t{9999}}) {
    for (int bit = 0; bit < 8; ++bit) {
      document[at] ^= static_cast<char>(1 << bit);
      const std::string hash = RequestHash({"model", document});
      halves[0].insert(hash.substr(0, 16));
      halves[1].insert(hash.substr(16));
      document[at] ^= static_cast<char>(1 << bit);
    }
  }
  EXPECT_EQ(halves[0].size(), 32u);
  EXPECT_EQ(halves[1].size(), 32u);
}

}  // namespace
}  // namespace kvfold
