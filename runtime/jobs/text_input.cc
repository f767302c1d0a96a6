#include "runtime/jobs/text_input.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>

#include "comm/error.h"
#include "comm/files/read_file.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

std::string InputName(const std::string& path) { return path == "-" ? "standard input" : path; }

std::string ReadInput(const std::string& path, const std::function<void()>& on_wait) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw InputError(fmt::format("{} is a folder, expected a text file", path));
  }
  return ReadFile(path, on_wait);
}

std::string AsText(std::string bytes, const std::string& name, bool said_before) {
  const size_t cut = OtherUnicode(bytes).empty() ? UnfinishedUtf8Bytes(bytes) : 0;
  const std::string_view whole = std::string_view(bytes).substr(0, bytes.size() - cut);
  CheckUtf8(whole, name);
  if (cut > 0 && !said_before) {
    spdlog::warn("{} ends inside a character: its last {} left out", name,
                 cut == 1 ? "byte is" : fmt::format("{} bytes are", cut));
  }
  bytes.resize(whole.size());
  return bytes;
}

void CheckStandardInput(const std::vector<std::pair<std::string, std::string>>& options) {
  const std::string* first = nullptr;
  for (const auto& [name, value] : options) {
    if (value != "-") continue;
    if (first != nullptr) {
      throw InputError(
          fmt::format("{} and {} are both - (standard input), which can be read once: name a file",
                      *first, name));
    }
    first = &name;
  }
}

}  // namespace kvfold
