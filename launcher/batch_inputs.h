// launcher/batch_inputs.h: rank 0's side of `run` before anything is loaded: what is asked for is
// read, encoded, checked and compared with what is done.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/options.h"
#include "launcher/ranks/loaded_model.h"
#include "models/chat_template.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/scheduler.h"
#include "runtime/jobs/document_groups.h"
#include "runtime/jobs/prompt_line.h"
#include "runtime/jobs/result_file.h"

namespace kvfold {

// A request that is ready, or the reason why it is not.
struct Job {
  std::string key;
  std::string document;  // what names its document and its bytes; empty: none
  Request request;
  std::optional<InputError> error;
};

class BatchInputs {
 public:
  // Reads --prompt or --prompts and opens --output. Throws InputError where nothing can be run. A
  // line of --prompts that cannot be read is a job with an error, beside the others.
  BatchInputs(const RunOptions& options, const LoadedModel& model, int n_ranks);

  // What is still to be done, in the order of the file; those that run together, by place.
  std::vector<Job>& jobs() { return jobs_; }
  const std::vector<DocumentGroup>& groups() const { return groups_; }
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  const std::string& transport() const { return model_.transport(); }
  ResultFile* results() { return results_.get(); }  // null: one prompt, to standard output
  int64_t already_done() const { return already_done_; }
  int64_t n_requests() const { return already_done_ + static_cast<int64_t>(jobs_.size()); }
  // Requests that may run together.
  int64_t concurrency() const;
  // What the engine must hold to run them so.
  EngineOptions Sizes() const;

 private:
  PromptLine Defaults() const;
  Job Single();
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
    std::optional<InputError> trouble;  // why there is no text
  };
  void ReadBatch();
  void TakeLine(std::string_view text);
  void ReadDocument(const std::string& path);
  void NameBadLines(const std::vector<BadLine>& bad);
  Job MakeJob(const PromptLine& line, const std::string& key, const std::string& document,
              const std::optional<InputError>& trouble);
  PromptTokens Held(std::vector<TokenId> tokens, const std::string& document);
  std::string Key(const PromptLine& line, std::string_view text, const std::string& document) const;
  void Group();
  int64_t Chunk() const;
  int64_t CacheTokens() const;

  const RunOptions& options_;
  const LoadedModel& model_;
  int n_ranks_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string tokenizer_trouble_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::string chat_trouble_;
  std::vector<TokenId> turn_end_ids_;  // of requests that are chats
  std::unique_ptr<ResultFile> results_;
  std::vector<Job> jobs_;
  std::vector<DocumentGroup> groups_;
  int64_t already_done_ = 0;
  // While a batch is read.
  std::set<std::string> ids_;
  std::set<std::string> documents_read_;
  Document document_;
  std::map<std::string, PromptTokens::Whole> documents_;  // by Job::document: what others share
};

}  // namespace kvfold
