// models/quoted.h: text of others (files, names, arguments), made fit to stand in a message.
#pragma once

#include <string>
#include <string_view>

namespace kvfold {

// `text` in double quotes, control characters and invalid UTF-8 escaped, cut short with "..."
// beyond 80 bytes.
std::string Quoted(std::string_view text);

// A whole sentence as a terminal may show it, on one line: control characters, what hides or turns
// the text around it, and invalid UTF-8 escaped as Quoted does it; all else, quotes and backslashes
// too, as it stands. So what is quoted already stays as it is.
std::string Printable(std::string_view text);

// `text` up to most_bytes, cut between two characters, "..." behind it where it was cut.
std::string CutShort(std::string_view text, size_t most_bytes);

}  // namespace kvfold
