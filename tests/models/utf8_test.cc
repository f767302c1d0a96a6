// Texts that are not UTF-8 are called by what they are.
#include "models/tokenizer/utf8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/models/error_of.h"

namespace kvfold {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// Code points in units of `width` bytes.
std::string Wide(std::u32string_view text, size_t width, bool big, bool mark) {
  std::string out;
  const auto put = [&](char32_t c) {
    for (size_t i = 0; i < width; ++i)
      out += static_cast<char>(c >> 8 * (big ? width - 1 - i : i) & 0xFF);
  };
  if (mark) put(0xFEFF);
  for (const char32_t c : text) put(c);
  return out;
}

TEST(OtherUnicode, IsToldByMarkAndWithout) {
  for (const std::u32string_view text :
       {std::u32string_view(U"{\"id\": \"a\"}\n"),
        std::u32string_view(U"Hello w\u00f6rld, \u201cyou\u201d"),
        std::u32string_view(U"{\"prompt\": \"\u4e2d\u6587\u4e00\u6587\u4e2d\u6587\u4e2d\u6587\"}"),
        std::u32string_view(U"\u0416\u0438\u043b \u0431\u044b\u043b, \u0438 \u0435\u0449\u0451 "
                            U"\u0440\u0430\u0437.")}) {
    for (const bool mark : {false, true}) {
      EXPECT_THAT(OtherUnicode(Wide(text, 2, false, mark)), StartsWith("UTF-16 (little endian"));
      EXPECT_THAT(OtherUnicode(Wide(text, 2, true, mark)), StartsWith("UTF-16 (big endian"));
      EXPECT_THAT(OtherUnicode(Wide(text, 4, false, mark)), StartsWith("UTF-32 (little endian"));
      EXPECT_THAT(OtherUnicode(Wide(text, 4, true, mark)), StartsWith("UTF-32 (big endian"));
    }
  }
  EXPECT_THAT(OtherUnicode("\xFF\xFE"), StartsWith("UTF-16"));
}

TEST(OtherUnicode, IsNotFoundInOthers) {
  const std::string zeros(512, '\0');
  for (const std::string& text :
       {std::string(), std::string("a"), std::string("Hello"), std::string("caf\xe9 au lait"),
        "\xEF\xBB\xBFwith a mark" + std::string(), zeros, "{\"id\": 1}\n" + zeros,
        std::string("a\0b c d e f g", 13), std::string("one.txt\0two.txt\0six.txt\0", 24),
        std::string("\x7f\x45\x4c\x46\2\1\1\0\0\0\0\0", 12)}) {
    EXPECT_EQ(OtherUnicode(text), "") << text;
  }
  // Zeros that happen to stand at every other place of some length.
  for (const std::string& line : {std::string("a\0b\n", 4), std::string("a\0bcd\n", 6),
                                  std::string("\0a\0bcd", 6), std::string("a\0b\0cd", 6)}) {
    std::string text;
    for (int i = 0; i < 2000; ++i) text += line;
    EXPECT_EQ(OtherUnicode(text), "") << line;
  }
}

TEST(CheckUtf8, NamesTheByteOrTheEncoding) {
  EXPECT_EQ(ErrorOf([] { CheckUtf8("caf\u00e9", "x.txt"); }), "");
  EXPECT_EQ(ErrorOf([] { CheckUtf8("caf\xe9 au lait", "x.txt"); }),
            "x.txt is not UTF-8 at byte 3: expected a character, found 0xe9");
  EXPECT_THAT(ErrorOf([] { CheckUtf8(Wide(U"caf\u00e9", 2, false, true), "x.txt"); }),
              AllOf(HasSubstr("x.txt is UTF-16"), HasSubstr("expected UTF-8")));
}

}  // namespace
}  // namespace kvfold
