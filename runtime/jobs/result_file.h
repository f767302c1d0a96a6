// runtime/jobs/result_file.h: the output of a batch: one JSON record a line, appended whole and
// synced, never rewritten. The same command again finds what is done and goes on.
#pragma once

#include <map>
#include <string>

#include "runtime/fold/scheduler.h"

namespace kvfold {

class ResultFile {
 public:
  // Opens or creates OUT, locks it, reads the records that are there and drops a torn last line.
  // Throws InputError where another process writes it or a whole line is not a record, IoError
  // where it cannot be opened. A device or a pipe is only written to: neither locked nor read.
  explicit ResultFile(const std::string& path);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  // Whether the request `id` is done. Throws InputError naming the id where it was done under
  // another key.
  bool Done(const std::string& id, const std::string& key) const;
  // Each appends one record and returns when it is on disk. Throws IoError; then the file ends in
  // whole records.
  void Append(const std::string& id, const std::string& key, const Completion& completion);
  void AppendError(const std::string& id, const std::string& key, const Error& error);

 private:
  void AppendLine(const std::string& line);
  std::string path_;
  int file_ = -1;
  std::map<std::string, std::string> keys_;  // by id
};

// One completion as an object of a record: text, tokens, counts, finish_reason, timings.
std::string CompletionJson(const Completion& completion);

}  // namespace kvfold
