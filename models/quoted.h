// models/quoted.h: text from a file, made fit to stand in an error message.
#pragma once

#include <string>
#include <string_view>

namespace kvfold {

// `text` in double quotes, control characters and invalid UTF-8 escaped, cut short with "..."
// beyond 80 bytes.
std::string Quoted(std::string_view text);

}  // namespace kvfold
