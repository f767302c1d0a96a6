// Text of others in messages: a terminal must never take it for anything but text.
#include "models/quoted.h"

#include <gtest/gtest.h>

#include <string>

#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

TEST(Printable, OrdinaryTextStaysAsItIs) {
  for (const char* text : {"", "a b", "C:\\temp \"x\" 'y' {}", "caf\u00e9 \u4e2d\u6587 \U0001F600",
                           "\"\\u{1b}\" is quoted already"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, WhatMovesHidesOrTurnsIsEscaped) {
  EXPECT_EQ(Printable("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(Printable("\x1b[31mred\x7f"), "\\u{1b}[31mred\\u{7f}");
  EXPECT_EQ(Printable(std::string("\0", 1)), "\\u{0}");
  EXPECT_EQ(Printable("\u009b31m"), "\\u{9b}31m");  // CSI in one character
  EXPECT_EQ(Printable("\u202eabc\u2066\u061c\u200f"), "\\u{202e}abc\\u{2066}\\u{61c}\\u{200f}");
  EXPECT_EQ(Printable("a\u2028b\u00a0c\u200bd\ufeff"), "a\\u{2028}b\\u{a0}c\\u{200b}d\\u{feff}");
  EXPECT_EQ(Printable("\U000E0041\ue000\uffff"), "\\u{e0041}\\u{e000}\\u{ffff}");
  EXPECT_EQ(Printable("a\xff\xc3"), "a\\x{ff}\\x{c3}");
}

// Whatever bytes there are, what comes out is UTF-8 without controls, and the same done twice.
TEST(Printable, AnyBytes) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += {static_cast<char>(i), static_cast<char>(255 - i)};
  const std::string text = Printable(bytes);
  EXPECT_EQ(FindInvalidUtf8(text), std::string::npos);
  for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  EXPECT_EQ(Printable(text), text);
}

TEST(Quoted, QuotesAndBackslashesAreEscapedToo) {
  EXPECT_EQ(Quoted("a\"b\\c\x1b"), "\"a\\\"b\\\\c\\u{1b}\"");
}

TEST(Quoted, IsCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\u00e9";
  EXPECT_EQ(Quoted(text), "\"" + text.substr(0, 80) + "\"...");
  EXPECT_EQ(Quoted("x" + text), "\"x" + text.substr(0, 78) + "\"...");
  EXPECT_EQ(Quoted(std::string(100, '\x80')).size(), 80 * 6 + 5);  // no character to cut before
  EXPECT_EQ(Quoted(std::string(80, 'x')), "\"" + std::string(80, 'x') + "\"");
}

TEST(CutShort, CutsBetweenCharacters) {
  EXPECT_EQ(CutShort("abc", 3), "abc");
  EXPECT_EQ(CutShort("abcd", 3), "abc...");
  EXPECT_EQ(CutShort("ab\u00e9d", 3), "ab...");
  EXPECT_EQ(CutShort("\u4e2d\u6587", 5), "\u4e2d...");
  EXPECT_EQ(CutShort("\u4e2d", 0), "...");
}

}  // namespace
}  // namespace kvfold
