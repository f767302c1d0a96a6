// runtime/jobs/result_file.h: the output of a batch: one JSON record a line, appended whole and
// synced, never rewritten. The same command again finds what is done and goes on.
//
// An id may have several records, where requests that had failed were run again: the last one is
// its result.
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
  // `retry_errors`: a request whose record is an error is not done. `transport`: by which its
  // completions are made, as Communicator::transport() says it.
  explicit ResultFile(const std::string& path, bool retry_errors = false,
                      std::string transport = "local");
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  // Whether the request `id` is done. Throws InputError naming the id where it was done under
  // another key. An error has no result that could be taken for another's: with retry_errors it is
  // run again under any key; without, it is done under `key` and also under
  // `key_without_document`, the key that the request had while its document could not be read.
  bool Done(const std::string& id, const std::string& key,
            const std::string& key_without_document = {}) const;
  // Each appends one record and returns when it is on disk. Throws IoError; then the file ends in
  // whole records.
  void Append(const std::string& id, const std::string& key, const Completion& completion);
  void AppendError(const std::string& id, const std::string& key, const Error& error);

 private:
  void AppendLine(const std::string& line);
  std::string path_;
  int file_ = -1;
  struct Record {
    std::string key;
    bool error = false;
  };
  bool retry_errors_;
  std::string transport_;
  std::map<std::string, Record> records_;  // the last of every id
};

// One completion as an object of a record: text, tokens, counts, finish_reason, timings, transport.
std::string CompletionJson(const Completion& completion, const std::string& transport);

}  // namespace kvfold
