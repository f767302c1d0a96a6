// models/tokenizer/unicode_sets.h: the sets of characters that pre-tokenizers split on, as Hugging
// Face tokenizers has them: Unicode 16.0 in its regular expressions (Oniguruma), 17.0 in the rest.
// Debian's libraries know older versions (PCRE2 10.42: 14.0, ICU 72: 15.0), so what they lack is
// listed here; without it a text in a young script would be cut elsewhere than the model learned.
#pragma once

#include <span>
#include <string_view>

namespace kvfold {

struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
};

// One range of the characters that Unicode 15.0, 15.1 and 16.0 assigned, with its general category
// ("Lo").
struct YoungRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  std::string_view category;
};
std::span<const YoungRange> YoungRanges();

// White_Space, Oniguruma's \s and Rust's: 25 characters, ascending. (PCRE2's \s has U+180E too.)
std::span<const CodePointRange> WhiteSpaceRanges();
bool IsWhiteSpace(char32_t c);

// Rust's char::is_numeric: general category N.
bool IsNumeric(char32_t c);
// \w of Rust's regex: Alphabetic, M, Nd, Pc and Join_Control.
bool IsWordCharacter(char32_t c);

}  // namespace kvfold
