// comm/files/read_file.h: a whole file in memory, without waiting for ever where it is a pipe.
#pragma once

#include <functional>
#include <string>

namespace kvfold {

// All bytes of what `path` names; "-" is standard input. While a pipe has nothing to read, or a
// FIFO no writer yet, `on_wait` is called some ten times a second and throws to give up. Throws
// InputError naming the file where it cannot be read.
std::string ReadFile(const std::string& path, const std::function<void()>& on_wait = {});

}  // namespace kvfold
