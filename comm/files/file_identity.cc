#include "comm/files/file_identity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

namespace kvfold {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel follows

FileIdentity Identity(const struct stat& status) {
  return {status.st_dev, status.st_ino, status.st_mode};
}

// Where the symbolic link `path` points to; nullopt: it is none.
std::optional<fs::path> LinkTarget(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  if (error) return std::nullopt;
  return target.is_absolute() ? target : path.parent_path() / target;
}

}  // namespace

std::optional<FileIdentity> IdentityOf(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return Identity(status);
}

std::optional<FileIdentity> IdentityOf(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return std::nullopt;
  return Identity(status);
}

fs::path FollowLinks(fs::path path) {
  for (int i = 0; i < kMostLinks; ++i) {
    const std::optional<fs::path> target = LinkTarget(path);
    if (!target) break;
    path = *target;
  }
  return path;
}

std::optional<int> OwnDescriptor(const fs::path& path) {
  std::error_code error;
  const fs::path own = fs::canonical("/proc/self/fd", error);
  if (error) return std::nullopt;
  fs::path at = path;
  for (int i = 0; i < kMostLinks; ++i) {
    const fs::path folder =
        fs::canonical(at.has_parent_path() ? at.parent_path() : fs::path("."), error);
    if (error) return std::nullopt;
    if (folder == own) {
      const std::string name = at.filename();
      int descriptor = -1;
      const auto [end, problem] =
          std::from_chars(name.data(), name.data() + name.size(), descriptor);
      if (problem != std::errc() || end != name.data() + name.size()) return std::nullopt;
      return descriptor;
    }
    const std::optional<fs::path> target = LinkTarget(at);
    if (!target) return std::nullopt;
    at = *target;
  }
  return std::nullopt;
}

NamedFile ReadBy(const std::string& option, const std::string& path) {
  const std::string use = "read by " + option;
  return path == "-" ? NamedFile{use, {}, STDIN_FILENO} : NamedFile{use, path};
}

NamedFile StandardOutput(const std::string& what_prints) {
  return {fmt::format("standard output, where {} prints", what_prints), {}, STDOUT_FILENO};
}

NamedFile StandardError() { return {"standard error, where the log goes", {}, STDERR_FILENO}; }

bool Clashes(const FileIdentity& output, const NamedFile& other, const FileIdentity& used) {
  if (!(output == used)) return false;
  if (S_ISREG(output.mode)) return true;
  if (other.descriptor == STDERR_FILENO) return false;
  if (S_ISFIFO(output.mode)) return true;
  if (other.descriptor != STDOUT_FILENO) return false;
  return S_ISSOCK(output.mode) || isatty(STDOUT_FILENO) == 1;
}

}  // namespace kvfold
