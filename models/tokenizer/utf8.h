// models/tokenizer/utf8.h: UTF-8 as the Unicode Standard defines it (table 3-7): no overlong forms,
// no surrogates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvfold {

// Offset of the first byte that is not part of a well-formed character; npos where all are.
size_t FindInvalidUtf8(std::string_view text);

// What `text` is where it is another encoding of Unicode: "UTF-16 (little endian)" and the like, by
// its byte order mark or by where its zero bytes stand; empty where neither tells.
std::string_view OtherUnicode(std::string_view text);
// Throws InputError where `text` is OtherUnicode or has a byte that is not UTF-8, which it names;
// `where` begins the sentence ("book.txt").
void CheckUtf8(std::string_view text, std::string_view where);

// The code point that begins at `offset`, which is moved past it. Requires: well-formed text,
// offset < text.size().
char32_t NextCodePoint(std::string_view text, size_t& offset);
// Where the character before `offset` begins. Requires: well-formed text, 0 < offset <=
// text.size().
size_t PreviousCodePoint(std::string_view text, size_t offset);

void AppendUtf8(std::string& out, char32_t code_point);

// Appends `bytes`, each maximal subpart of an ill-formed character replaced by one U+FFFD
// (Unicode 3.9, "U+FFFD substitution of maximal subparts"; Rust's String::from_utf8_lossy does the
// same).
void AppendLossyUtf8(std::string& out, std::string_view bytes);

// How many bytes at the end are the beginning of a well-formed character that more bytes could
// complete: 0 to 3.
size_t UnfinishedUtf8Bytes(std::string_view bytes);

}  // namespace kvfold
