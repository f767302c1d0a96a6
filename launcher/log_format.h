// launcher/log_format.h: how a line of the log looks.
#pragma once

#include <spdlog/formatter.h>

#include <memory>

namespace kvfold {

// "12:34:56 warning SENTENCE", on one line: foreign text in it is made Printable.
std::unique_ptr<spdlog::formatter> MakeLogFormat();

}  // namespace kvfold
