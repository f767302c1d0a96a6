// models/json_text.h: the text of JSON that may be broken: its tokens, and where and why a parser
// gave it up, in our own words.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kvfold {

// The token that begins at or behind `from`: a string with its quotes (to the end where it is not
// closed), one of {}[],: or what stands between those and white space. Empty, at the end, where
// there is none.
std::string_view NextJsonToken(std::string_view text, size_t from);

struct JsonProblem {
  int64_t line = 1;    // both from 1, columns in characters
  int64_t column = 1;  // a byte order mark counts
  std::string why;     // what was found and what was expected
};
// `error`: what parsing `text` threw.
JsonProblem FindJsonProblem(std::string_view text, const nlohmann::json::exception& error);

// A JSON value as a message shows it: on one line, cut short.
std::string ShownJson(const nlohmann::json& value);

}  // namespace kvfold
