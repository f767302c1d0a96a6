// models/chat/jinja_text.h: what Python's str does, on UTF-8. All views must be well-formed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvfold::jinja {

// str.isspace, which str.strip and the \s of Python's regular expressions go by.
bool IsPythonSpace(char32_t c);

std::string_view LeftStripped(std::string_view text);
std::string_view RightStripped(std::string_view text);
std::string_view Stripped(std::string_view text);
// The same of characters that stand in `characters`.
std::string_view LeftStripped(std::string_view text, std::string_view characters);
std::string_view RightStripped(std::string_view text, std::string_view characters);

bool IsAscii(std::string_view text);
// len(text): code points.
int64_t CountCharacters(std::string_view text);
// The byte at which character n begins; text.size() behind the last. Requires n >= 0.
size_t ByteOfCharacter(std::string_view text, int64_t n);

// str.upper and str.lower, of any script.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
// str.capitalize, str.title and Jinja's filter title. Requires: ASCII.
std::string Capitalized(std::string_view text);
std::string Titled(std::string_view text);
std::string TitleFiltered(std::string_view text);

// str.split and str.rsplit; `most` cuts at most, -1: any. `separator` empty: at white space.
std::vector<std::string_view> Split(std::string_view text, std::string_view separator,
                                    int64_t most);
std::vector<std::string_view> RightSplit(std::string_view text, std::string_view separator,
                                         int64_t most);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);
// str.replace; `most` -1: all.
std::string Replaced(std::string_view text, std::string_view old, std::string_view by,
                     int64_t most);
// str.count of one that is not empty.
int64_t Count(std::string_view text, std::string_view wanted);

// repr of a str, and of a float (str is the same).
std::string Repr(std::string_view text);
std::string FloatText(double number);

}  // namespace kvfold::jinja
