// runtime/jobs/batch.h: a file of requests and the file of their results, before anything is
// loaded: what is asked for is read, encoded, checked, and compared with what is done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "comm/device/dtype.h"
#include "comm/error.h"
#include "comm/files/output_file.h"
#include "models/model_config.h"
#include "runtime/fold/engine_options.h"
#include "runtime/fold/fold_options.h"
#include "runtime/fold/scheduler.h"
#include "runtime/jobs/document_groups.h"
#include "runtime/jobs/prompt_line.h"
#include "runtime/jobs/request_maker.h"
#include "runtime/jobs/result_file.h"

namespace kvfold {

// What must be known of the model that will run them: results depend on all but the path.
struct BatchModel {
  std::filesystem::path path;
  const ModelConfig* config = nullptr;
  uint64_t fingerprint = 0;
  int n_ranks = 1;
  DType dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  DType sum_dtype = DType::kF32;
  std::string transport;
};

struct BatchOptions {
  std::string prompts;  // JSON lines; "-": standard input
  bool retry_errors = false;
  bool chat = false;
  PromptLine defaults;  // of what a line leaves out
  FoldOptions fold;
  int64_t max_tokens = 0;  // positions of the cache; 0: as many as are needed
  int64_t concurrency = 1;
  std::function<void()> on_wait;  // called while lines are read; throws to give up
};

// A request that is ready, or the reason why it is not.
struct Job {
  std::string key;
  std::string document;  // what names its document and its bytes; empty: none
  Request request;
  std::optional<InputError> error;
};

class Batch {
 public:
  // Reads the requests and opens the output. Throws InputError where nothing can be run. A line
  // that cannot be read is a job with an error, beside the others.
  Batch(BatchOptions options, BatchModel model, const OutputPlace& output);

  // What is still to be done, in the order of the file; those that run together, by place.
  std::vector<Job>& jobs() { return jobs_; }
  const std::vector<Job>& jobs() const { return jobs_; }
  const std::vector<DocumentGroup>& groups() const { return groups_; }
  std::unique_ptr<Reply> MakeReply(const Request& request) { return requests_.MakeReply(request); }
  ResultFile& results() { return results_; }
  int64_t already_done() const { return already_done_; }
  int64_t n_requests() const { return already_done_ + static_cast<int64_t>(jobs_.size()); }
  // Requests that may run together.
  int64_t concurrency() const;
  Workload workload() const;

 private:
  // A line that cannot be read: it fails alone.
  class BadLineError : public InputError {
   public:
    using InputError::InputError;
  };
  struct BadLine {
    std::string text;
    size_t number;  // from 1
    size_t job;     // its place
  };
  // The document that was read last: lines that follow each other often name the same.
  struct Document {
    std::string path;  // empty: none
    std::string text;
    std::optional<InputError> problem;  // why there is no text
  };
  void Read();
  void TakeLine(std::string_view text);
  void ReadDocument(const std::string& path);
  void NameBadLines(const std::vector<BadLine>& bad);
  Job MakeJob(const PromptLine& line, const std::string& key);
  PromptTokens Held(const PromptTokens& tokens, const std::string& document);
  std::string Key(const PromptLine& line, std::string_view text, const std::string& document) const;
  void Group();
  int64_t Chunk() const;
  int64_t CacheTokens() const;

  BatchOptions options_;
  BatchModel model_;
  RequestMaker requests_;
  ResultFile results_;
  std::vector<Job> jobs_;
  std::vector<DocumentGroup> groups_;
  int64_t already_done_ = 0;
  // While lines are read.
  std::set<std::string> ids_;
  std::set<std::string> documents_read_;
  Document document_;
  std::map<std::string, PromptTokens::Whole> documents_;  // by Job::document: what others share
};

}  // namespace kvfold
