// runtime/jobs/result_file.h: the output of a batch: one JSON record a line, appended whole and
// synced, never rewritten. The same command again finds what is done and goes on.
//
// An id may have several records, where requests that had failed were run again: the last one is
// its result.
//
// A file that is there is taken for one of ours only where all of it is: every line a record, or
// blank; after a crash, at its end, the beginning of a record without a line end, or zeros. Line
// ends may be CR LF and a byte order mark may stand before the first line. Anything else is refused
// by its line and left as it is, byte for byte. What a crash has left is cut off when the first
// record is appended; where the file system cannot cut, it stays as a line of its own and is passed
// over.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "comm/files/output_file.h"
#include "runtime/jobs/result_record.h"

namespace kvfold {

class ResultFile {
 public:
  // Opens or creates the file, locks it and reads the records that are there. Throws InputError
  // where it must not be written (comm/files/output_file.h), another process writes it or it is not
  // a result file, IoError where it cannot be read. Streams hold no records: nothing is done.
  // `retry_errors`: a request whose record is an error is not done. `transport`: by which its
  // completions are made, as Communicator::transport() says it.
  explicit ResultFile(const OutputPlace& place, bool retry_errors = false,
                      std::string transport = "local");

  // Whether the same command again finds here what is done.
  bool keeps_records() const { return file_.regular(); }
  // Throws InputError where `path`, a document of a request, is this file.
  void RefuseDocument(const std::string& path) const;

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
  struct Record {
    std::string key;
    bool error = false;
  };

  void ReadRecords();
  void TakeLine(std::string_view line, int64_t line_number);
  void TakeTail(std::string_view tail, int64_t begin_bytes, int64_t line_number);
  void Note(const KnownRecord& record);
  [[noreturn]] void Refuse(int64_t line_number) const;
  void AppendLine(const std::string& record);

  OutputFile file_;
  bool retry_errors_;
  std::string transport_;
  std::map<std::string, Record> records_;  // the last of every id
  int64_t torn_line_ = 0;                  // the first torn line that has an end, from 1; 0: none
  int64_t read_bytes_ = 0;                 // its size when it was read
  int64_t kept_bytes_ = 0;                 // of them, up to what a crash has left
  bool begun_ = false;                     // something was appended
  bool open_line_ = false;                 // what is kept does not end with a line's end
};

}  // namespace kvfold
