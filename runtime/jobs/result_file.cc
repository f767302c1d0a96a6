#include "runtime/jobs/result_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "runtime/jobs/prompt_line.h"

namespace kvfold {
namespace {

using Json = nlohmann::ordered_json;

Json CompletionObject(const Completion& completion, const std::string& transport) {
  return {{"text", completion.text},
          {"tokens", completion.tokens},
          {"prompt_tokens", completion.prompt_tokens},
          {"new_tokens", completion.tokens.size()},
          {"finish_reason", completion.finish_reason},
          {"timings",
           {{"fold_s", completion.fold_s},
            {"decode_s", completion.decode_s},
            {"chunks", completion.chunks}}},
          {"transport", transport}};
}

const char* CodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadInput:
      return "bad_input";
    case ErrorCode::kDoesNotFit:
      return "does_not_fit";
    default:
      return "failed";
  }
}

// A file that was just made is found after a crash only when its folder is on disk too.
void SyncFolder(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const int folder =
      open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;  // a folder that may be written to but not read
  const bool synced = fsync(folder) == 0 || errno == EINVAL;  // EINVAL: it knows no fsync
  const int cause = errno;
  close(folder);
  if (!synced) {
    throw IoError(fmt::format("cannot write the folder of {}: {}", path, std::strerror(cause)));
  }
}

}  // namespace

std::string CompletionJson(const Completion& completion, const std::string& transport) {
  return CompletionObject(completion, transport)
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

ResultFile::ResultFile(const std::string& path, bool retry_errors, std::string transport)
    : path_(path), retry_errors_(retry_errors), transport_(std::move(transport)) {
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) throw InputError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  // A device or a pipe holds no records, and reading it might never end: it is only written to.
  struct stat status {};
  if (fstat(file_, &status) == 0 && !S_ISREG(status.st_mode)) return;
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    close(file_);
    throw InputError(fmt::format("{} is being written by another process", path));
  }
  try {
    const std::string text = ReadTextFile(path);
    size_t begin = 0;
    for (int64_t line_number = 1; begin < text.size(); ++line_number) {
      const size_t end = text.find('\n', begin);
      if (end == std::string::npos) break;  // torn: its request is done again
      const Json record =
          Json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
      if (!record.is_object() || !record.contains("id") || !record["id"].is_string() ||
          !record.contains("key") || !record["key"].is_string()) {
        throw InputError(
            fmt::format("{}, line {}: not a record with \"id\" and \"key\"; is this another file?",
                        path, line_number));
      }
      records_[record["id"].get<std::string>()] = {record["key"].get<std::string>(),
                                                   record.contains("error")};
      begin = end + 1;
    }
    if (ftruncate(file_, static_cast<off_t>(begin)) != 0 || lseek(file_, 0, SEEK_END) < 0) {
      throw IoError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    }
    SyncFolder(path);
  } catch (...) {
    close(file_);
    throw;
  }
}

ResultFile::~ResultFile() { close(file_); }

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
                    path_, id));
  }
  throw InputError(fmt::format(
      "{} holds a result of id \"{}\" from another request, document, model or options: name "
      "another output",
      path_, id));
}

void ResultFile::Append(const std::string& id, const std::string& key,
                        const Completion& completion) {
  Json record = {{"id", id}, {"key", key}};
  record.update(CompletionObject(completion, transport_));
  AppendLine(record.dump(-1, ' ', false, Json::error_handler_t::replace));
  records_[id] = {key, false};
}

void ResultFile::AppendError(const std::string& id, const std::string& key, const Error& error) {
  const Json record = {{"id", id},
                       {"key", key},
                       {"error", {{"code", CodeName(error.code())}, {"message", error.what()}}}};
  AppendLine(record.dump(-1, ' ', false, Json::error_handler_t::replace));
  records_[id] = {key, true};
}

void ResultFile::AppendLine(const std::string& line) {
  const std::string whole = line + '\n';
  const off_t start = lseek(file_, 0, SEEK_CUR);
  const auto fail = [&](int cause) {
    // Away with the torn line, which would be dropped at the next start all the same.
    if (ftruncate(file_, start) == 0) lseek(file_, start, SEEK_SET);
    throw IoError(fmt::format("cannot write {}: {}", path_, std::strerror(cause)));
  };
  size_t written = 0;
  while (written < whole.size()) {
    const ssize_t n = write(file_, whole.data() + written, whole.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(n < 0 ? errno : ENOSPC);
    written += static_cast<size_t>(n);
  }
  if (fsync(file_) != 0 && errno != EINVAL) fail(errno);  // EINVAL: a pipe or a device
}

}  // namespace kvfold
