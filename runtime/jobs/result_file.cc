#include "runtime/jobs/result_file.h"

#include <spdlog/spdlog.h>

#include <vector>

#include "comm/error.h"

namespace kvfold {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr size_t kReadBytes = size_t{1} << 20;

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

// Where a machine went down a file may have got its length and not its bytes.
std::string_view WithoutZeros(std::string_view line) {
  return line.substr(0, line.find_last_not_of('\0') + 1);
}

// Whether a line whose end has not been read yet may still be a record, or zeros: what is no result
// file, however large, is told by its beginning.
bool MayBecomeRecord(std::string_view begin) {
  const size_t first = begin.find_first_not_of(" \t\r");
  return first == std::string_view::npos || begin[first] == '{' || begin[first] == '\0';
}

}  // namespace

ResultFile::ResultFile(const OutputPlace& place, bool retry_errors, std::string transport)
    : file_(place), retry_errors_(retry_errors), transport_(std::move(transport)) {
  if (!file_.regular()) return;
  file_.Lock();
  ReadRecords();
  file_.SyncFolder();
}

void ResultFile::ReadRecords() {
  std::vector<char> block(kReadBytes);
  std::string pending;  // from the beginning of a line on
  size_t searched = 0;  // of it
  int64_t begin_bytes = 0;
  int64_t line_number = 1;
  while (const size_t n = file_.ReadAt(read_bytes_, block)) {
    pending.append(block.data(), n);
    if (read_bytes_ == 0 && pending.starts_with(kByteOrderMark)) {
      pending.erase(0, kByteOrderMark.size());
      begin_bytes = static_cast<int64_t>(kByteOrderMark.size());
    }
    read_bytes_ += static_cast<int64_t>(n);
    size_t line = 0;
    for (size_t end; (end = pending.find('\n', searched)) != std::string::npos; line = searched) {
      TakeLine(std::string_view(pending).substr(line, end - line), line_number++);
      searched = end + 1;
    }
    pending.erase(0, line);
    begin_bytes += static_cast<int64_t>(line);
    searched = pending.size();
    if (!MayBecomeRecord(pending)) Refuse(line_number);
  }
  TakeTail(pending, begin_bytes, line_number);
  // A torn line alone is no proof.
  if (torn_line_ > 0 && records_.empty()) Refuse(torn_line_);
}

void ResultFile::TakeLine(std::string_view line, int64_t line_number) {
  const std::string_view text = WithoutZeros(line);
  const bool zeros = text.size() < line.size();
  if (IsBlank(line)) return;
  if (const std::optional<KnownRecord> record = ReadRecord(text)) {
    Note(*record);
  } else if (IsTornRecord(text) || (zeros && IsBlank(text))) {
    spdlog::warn("{}, line {}: a torn record, passed over", file_.name(), line_number);
    if (torn_line_ == 0) torn_line_ = line_number;
  } else {
    Refuse(line_number);
  }
}

void ResultFile::TakeTail(std::string_view tail, int64_t begin_bytes, int64_t line_number) {
  const std::string_view text = WithoutZeros(tail);
  const bool zeros = text.size() < tail.size();
  kept_bytes_ = begin_bytes + static_cast<int64_t>(text.size());
  if (IsBlank(text)) {
    if (zeros && records_.empty()) Refuse(line_number);
  } else if (const std::optional<KnownRecord> record = ReadRecord(text); record && !zeros) {
    Note(*record);  // whole but for its line's end
  } else if (records_.empty() && !record && IsTornRecord(text)) {
    // Nothing else says that this file is ours: it is not cut, and without a key not taken.
    if (!HoldsKey(text)) Refuse(line_number);
    spdlog::warn("{}, line {}: a torn record, passed over; its request is done again", file_.name(),
                 line_number);
  } else if (record || IsTornRecord(text)) {
    kept_bytes_ = begin_bytes;
    spdlog::warn("{}, line {}: a torn record; its request is done again", file_.name(),
                 line_number);
  } else {
    Refuse(line_number);
  }
  open_line_ = kept_bytes_ > begin_bytes;
}

void ResultFile::Note(const KnownRecord& record) {
  records_[record.id] = {record.key, record.error};
}

void ResultFile::Refuse(int64_t line_number) const {
  throw InputError(fmt::format(
      "{}, line {}: not a record with \"id\" and \"key\" and a result, as kvfold writes "
      "it; is this another file?",
      file_.name(), line_number));
}

void ResultFile::RefuseDocument(const std::string& path) const {
  file_.Refuse(ReadBy("a request as its document", path));
}

bool ResultFile::Done(const std::string& id, const std::string& key,
                      const std::string& key_without_document) const {
  const auto found = records_.find(id);
  if (found == records_.end()) return false;
  const Record& record = found->second;
  if (record.error && retry_errors_) return false;
  if (record.key == key || (record.error && record.key == key_without_document)) return true;
  if (record.error) {
    throw InputError(
        fmt::format("{} holds an error of id \"{}\" from another request, document, model or "
                    "options: --retry-errors runs it again",
                    file_.name(), id));
  }
  throw InputError(fmt::format(
      "{} holds a result of id \"{}\" from another request, document, model or options: name "
      "another output",
      file_.name(), id));
}

void ResultFile::Append(const std::string& id, const std::string& key,
                        const Completion& completion) {
  AppendLine(CompletionRecord(id, key, completion, transport_));
  records_[id] = {key, false};
}

void ResultFile::AppendError(const std::string& id, const std::string& key, const Error& error) {
  AppendLine(ErrorRecord(id, key, error));
  records_[id] = {key, true};
}

void ResultFile::AppendLine(const std::string& record) {
  std::string line;
  if (!begun_ && file_.regular()) {
    if (file_.Size() != read_bytes_) {
      throw IoError(
          fmt::format("{} was changed by another process after it was read, from {} to {} "
                      "bytes",
                      file_.name(), read_bytes_, file_.Size()));
    }
    // What cannot be cut off becomes a line of its own.
    if (kept_bytes_ < read_bytes_ && !file_.Cut(kept_bytes_)) open_line_ = true;
    if (open_line_) line += '\n';
  }
  line.append(record).append("\n");
  file_.Append(line);
  begun_ = true;
}

}  // namespace kvfold
