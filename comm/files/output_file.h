// comm/files/output_file.h: a file that is written: the one place where any is opened for that.
//
// Opening changes nothing. A file that is there may be somebody else's: whoever writes reads it
// first and appends or cuts only once it has found what it has written itself.
//
//   regular files         are opened for reading too, appended to, locked, synced; what cannot be
//                         written whole is taken back
//   pipes, sockets,       are streams: written only, never read, locked or synced. Nothing waits
//   devices, "-"          for ever: while a pipe is full, or a FIFO has no reader, the caller is
//                         asked whether to go on
//
// "-" is standard output, a stream even where that is a regular file. SIGPIPE and SIGXFSZ must be
// ignored (launcher/inheritance.h): a reader that has gone is an error like a full disk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/files/file_identity.h"

namespace kvfold {

// Called some ten times a second while nothing can be written; throws to give up.
using WaitCheck = std::function<void()>;

// Where something is to be written.
struct OutputPlace {
  OutputPlace(std::string the_path, std::vector<NamedFile> the_others = {}, WaitCheck check = {})
      : path(std::move(the_path)), others(std::move(the_others)), on_wait(std::move(check)) {}
  std::string path;
  std::vector<NamedFile> others;  // that it must not be
  WaitCheck on_wait;
};

// Throws InputError where nothing may be written there: a folder, a disk, or one of `others` by
// whatever name; also where one of them is not there, since it would come to be by being written.
void RefuseSpoiling(const OutputPlace& place);

class OutputFile {
 public:
  // RefuseSpoiling, then opens it, or makes an empty file; waits for the reader of a FIFO. Throws
  // InputError, IoError where "-" is closed.
  explicit OutputFile(const OutputPlace& place);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& name() const { return name_; }  // as sentences have it
  bool regular() const { return regular_; }
  // Throws InputError where `other` is this file. What is not there is not this file.
  void Refuse(const NamedFile& other) const;

  // Of a regular file. Takes the lock that lasts as long as this object; throws InputError where
  // another process has it, or has put another file in this one's place. Where the file system has
  // no locks: one warning, and on.
  void Lock();
  int64_t Size() const;  // throws IoError, also where the file has been removed meanwhile
  // Bytes from `offset` on; fewer than asked for at the end only. Throws IoError.
  size_t ReadAt(int64_t offset, std::span<char> bytes) const;
  // Makes the file end after so many bytes; false, after one warning, where the file system cannot.
  bool Cut(int64_t size_bytes);
  // Gives it another name, in place of the file that has it now. Throws IoError and changes
  // nothing.
  void Rename(const std::filesystem::path& path);
  // Its entry in its folder is on disk too when this returns; where folders cannot be synced: one
  // warning, and on.
  void SyncFolder();

  // All of it, at the end; throws IoError.
  void Write(std::string_view bytes);
  // What was written is on disk when this returns; where the file system cannot sync: one warning,
  // and on. Nothing for a stream.
  void Sync();
  // Write and Sync, or nothing: what does not succeed is taken back. Where that fails too, the next
  // call begins with a line end. The bytes of a stream cannot be taken back.
  void Append(std::string_view bytes);

 private:
  void Open();
  void OpenStream();
  void Duplicate(int descriptor);
  void Wait();
  size_t WriteSome(std::string_view bytes);
  void TakeBack(int64_t size_bytes, int64_t written_bytes) noexcept;
  void WarnUnsynced(int cause);
  [[noreturn]] void Fail(int cause) const;

  std::string name_;
  std::string path_;
  WaitCheck on_wait_;
  int file_ = -1;
  FileIdentity identity_;
  bool regular_ = false;
  bool named_ = false;  // it had a name when it was opened
  bool torn_ = false;   // what could not be taken back stands at its end
  bool warned_unsynced_ = false;
};

}  // namespace kvfold
