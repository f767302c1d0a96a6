// models/tokenizer/regex_translation.h: a regular expression of a tokenizer.json, which Hugging
// Face gives to Oniguruma (Ruby syntax), written for PCRE2 so that it matches the same.
//
// The two agree on most of what tokenizers use and silently disagree on the rest, so only what is
// known to mean the same is passed on, spelled out: literals, . \r \n \t \f \v \xHH \s \S \d \D
// \p{..} \P{..}, classes without nesting, alternation, groups (capturing, (?:, (?i:, (?>, (?=, (?!,
// (?<=, (?<!), ? * + with lazy or possessive suffix, {n} {n,} {n,m}. Anything else is refused by
// name.
#pragma once

#include <string>
#include <string_view>

namespace kvfold {

// Requires: well-formed UTF-8. Throws InputError naming the construct and its offset in `pattern`;
// `where` begins the message. What is wrong in itself (an unclosed group, say) is left for PCRE2 to
// find.
std::string TranslateRegex(std::string_view pattern, std::string_view where);
// A pattern that matches `text` itself.
std::string QuoteRegex(std::string_view text);

}  // namespace kvfold
