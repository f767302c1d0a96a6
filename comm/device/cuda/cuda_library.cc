#include "comm/device/cuda/cuda_library.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "comm/error.h"

namespace kvfold {
namespace {

namespace fs = std::filesystem;

// The folders below `root` that match "python*/{site,dist}-packages/nvidia/*/lib".
void AddPipFolders(const fs::path& root, std::vector<std::string>& folders) {
  std::error_code failed;
  for (const auto& python : fs::directory_iterator(root, failed)) {
    if (!python.path().filename().string().starts_with("python3")) continue;
    for (const char* const packages : {"site-packages", "dist-packages"}) {
      std::error_code none;
      for (const auto& package :
           fs::directory_iterator(python.path() / packages / "nvidia", none)) {
        const fs::path folder = package.path() / "lib";
        if (fs::is_directory(folder, none)) folders.push_back(folder.string());
      }
    }
  }
}

}  // namespace

std::vector<std::string> CudaLibraryFolders() {
  std::vector<std::string> folders;
  const auto add = [&](const fs::path& folder) {
    std::error_code failed;
    if (fs::is_directory(folder, failed)) folders.push_back(folder.string());
  };
  for (const char* const variable : {"NCCL_HOME", "CUDA_HOME", "CUDA_PATH"}) {
    const char* const root = std::getenv(variable);
    if (root == nullptr || *root == '\0') continue;
    add(fs::path(root) / "lib64");
    add(fs::path(root) / "lib");
  }
  // A python3 on PATH stands in ROOT/bin, its packages in ROOT/lib.
  if (const char* const path = std::getenv("PATH")) {
    std::istringstream entries(path);
    for (std::string entry; std::getline(entries, entry, ':');) {
      std::error_code failed;
      if (entry.empty() || !fs::exists(fs::path(entry) / "python3", failed)) continue;
      AddPipFolders(fs::path(entry).parent_path() / "lib", folders);
      if (entry == "/usr/bin") AddPipFolders("/usr/local/lib", folders);
    }
  }
  add(KVFOLD_CUDA_LIBRARY_FOLDER);
  add("/usr/local/cuda/lib64");
  add("/usr/local/cuda/lib");
  return folders;
}

CudaLibrary::CudaLibrary(std::string name, const std::string& file) : name_(std::move(name)) {
  // RTLD_LOCAL: what these libraries export is not to meet other libraries' symbols.
  constexpr int kMode = RTLD_NOW | RTLD_LOCAL;
  handle_ = dlopen(file.c_str(), kMode);
  const char* const loader_words = handle_ == nullptr ? dlerror() : nullptr;
  const std::string loader_error = loader_words == nullptr ? "" : loader_words;
  std::string last_error;
  if (handle_ == nullptr) {
    for (const std::string& folder : CudaLibraryFolders()) {
      const std::string path = (fs::path(folder) / file).string();
      std::error_code failed;
      if (!fs::exists(path, failed)) continue;
      handle_ = dlopen(path.c_str(), kMode);
      if (handle_ != nullptr) break;
      if (const char* const words = dlerror()) last_error = words;
    }
  }
  if (handle_ == nullptr) {
    throw DeviceError(fmt::format(
        "{} cannot be opened, expected it on LD_LIBRARY_PATH, in the CUDA toolkit or in pip's "
        "nvidia packages: {}",
        name_, last_error.empty() ? loader_error : last_error));
  }
  link_map* map = nullptr;
  path_ = dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr ? map->l_name : file;
}

void* CudaLibrary::Symbol(const char* symbol) const {
  void* const found = dlsym(handle_, symbol);
  if (found == nullptr) {
    throw DeviceError(
        fmt::format("{} lacks {}: it is older than this program needs", path_, symbol));
  }
  return found;
}

}  // namespace kvfold
