// ResolveModel: a path, or the name of a config that comes with kvfold.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/model_path.h"
#include "models/model_config.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Where shipped configs may lie, the first that has a name wins: where the user says, beside an
// installed executable, where it was built.
std::vector<std::filesystem::path> ConfigFolders() {
  std::vector<std::filesystem::path> folders;
  if (const char* const folder = std::getenv("KVFOLD_CONFIG_DIR")) folders.emplace_back(folder);
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    folders.push_back(executable.parent_path().parent_path() / "share" / "kvfold" / "configs");
  }
  folders.emplace_back(KVFOLD_CONFIG_DIR);
  return folders;
}

// "OWNER/NAME", and no folder OWNER here.
bool LooksLikeHubName(const std::string& name) {
  const size_t slash = name.find('/');
  if (HasEntry(name.substr(0, slash))) return false;
  return slash != std::string_view::npos && slash > 0 && slash + 1 < name.size() &&
         name.find('/', slash + 1) == std::string_view::npos && name.front() != '.' &&
         name.front() != '~';
}

}  // namespace

std::filesystem::path ResolveModel(const std::string& name) {
  std::error_code error;
  // A link that leads nowhere as well: whoever opens it says so.
  if (!name.empty() && HasEntry(name)) return name;
  std::vector<std::string> shipped;
  for (const std::filesystem::path& folder : ConfigFolders()) {
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (!std::filesystem::exists(entry.path() / "config.json", error)) continue;
      const std::string shipped_name = entry.path().filename().string();
      if (LowerCase(shipped_name) == LowerCase(name)) return entry.path();
      shipped.push_back(shipped_name);
    }
  }
  std::sort(shipped.begin(), shipped.end());
  shipped.erase(std::unique(shipped.begin(), shipped.end()), shipped.end());
  throw InputError(fmt::format(
      "model {}: no such file or folder, nor the name of a shipped config ({}){}", Quoted(name),
      shipped.empty() ? "none was found" : fmt::format("{}", fmt::join(shipped, ", ")),
      LooksLikeHubName(name)
          ? "; a model of the Hugging Face hub is downloaded first, and its folder given"
          : ""));
}

}  // namespace kvfold
