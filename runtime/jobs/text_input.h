// runtime/jobs/text_input.h: texts that users name: a file, or "-", standard input.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace kvfold {

// How messages call it: the path, or "standard input".
std::string InputName(const std::string& path);

// All its bytes; `path` may be "-". Throws InputError where it cannot be read, or is a folder.
// `on_wait`: as comm/files/read_file.h has it.
std::string ReadInput(const std::string& path, const std::function<void()>& on_wait = {});

// `bytes` as text. Cut inside its last character, as `head -c` cuts it, a text ends before that,
// with a warning unless that was said before. Throws InputError where it is UTF-16 or UTF-32, or
// names the byte that is no UTF-8.
std::string AsText(std::string bytes, const std::string& name, bool said_before = false);

// Throws InputError where two of the options (name, value) are "-": standard input is read once.
void CheckStandardInput(const std::vector<std::pair<std::string, std::string>>& options);

}  // namespace kvfold
