// comm/files/file_identity.h: which file a name leads to: a symbolic link, a hard link and
// /proc/self/fd/3 may all be the same one.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>

namespace kvfold {

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  mode_t mode = 0;  // its kind, as stat(2) has it
  bool operator==(const FileIdentity& other) const {
    return device == other.device && inode == other.inode;
  }
};

// Of what is there under `path`, links followed; nullopt where nothing is, errno saying why.
std::optional<FileIdentity> IdentityOf(const std::string& path);
std::optional<FileIdentity> IdentityOf(int descriptor);

// `path` with the links of its last component followed, also those that lead nowhere: where a file
// that is made under this name comes to be.
std::filesystem::path FollowLinks(std::filesystem::path path);

// N where `path` leads to this process's own descriptor N, as /dev/stdout, /dev/fd/N and
// /proc/self/fd/N do.
std::optional<int> OwnDescriptor(const std::filesystem::path& path);

// What this run uses beside the file that it is to write.
struct NamedFile {
  std::string use;      // "read by --prompts", "standard output, where --json prints"
  std::string path;     // empty: the descriptor
  int descriptor = -1;  // of a standard stream
};

NamedFile ReadBy(const std::string& option, const std::string& path);  // "-": standard input
NamedFile StandardOutput(const std::string& what_prints);
NamedFile StandardError();

// Whether writing to `output` would spoil `other`, of identity `used`, or be spoilt by it. Devices
// that keep nothing, as /dev/null, are nobody's; a socket may well be input and output at once; a
// log may go into the pipe or onto the terminal that the output goes to.
bool Clashes(const FileIdentity& output, const NamedFile& other, const FileIdentity& used);

}  // namespace kvfold
