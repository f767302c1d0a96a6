// runtime/fold/scheduler.h: requests through an engine, on rank 0: each folds its prompt chunk by
// chunk and then decodes; those that decode ride along in the steps of those that fold. A request's
// chunks are cut from its own start, whatever rides beside it.
//
// Requests that begin alike fold that once: a sequence of its own holds the shared prefix, each of
// them forks it, and the last one takes it over. Their results have the bits that they have alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/engine.h"
#include "runtime/fold/prompt_tokens.h"
#include "runtime/fold/reply.h"
#include "runtime/fold/sampler.h"
#include "runtime/weights/embedding_source.h"

namespace kvfold {

struct Request {
  std::string id;
  PromptTokens tokens;  // the prompt, at least one
  int64_t max_new_tokens = 0;
  SamplingOptions sampling;
  // Text ends before the first of these; one that holds the text of special tokens is met by them.
  std::vector<std::string> stop;
  std::vector<TokenId> end_ids;  // tokens that end it beside SchedulerOptions::eos_ids
};

struct Completion {
  std::string text;  // empty without a Reply
  std::vector<TokenId> tokens;
  std::string finish_reason;  // "stop": end of text or a stop string; "length": max_new_tokens
  int64_t prompt_tokens = 0;
  int64_t shared_tokens = 0;  // of the prompt: folded for another request before
  int64_t chunks = 0;         // folded for this one
  double fold_s = 0.0;        // from the first chunk's start to the first new token
  double decode_s = 0.0;      // from there to the last
};

struct SchedulerOptions {
  int64_t chunk = 256;
  std::vector<int64_t> eos_ids;
  // Requests that run together; 0: as many as the engine has sequences. A shared prefix takes a
  // sequence too.
  int64_t concurrency = 0;
};

// What was folded and decoded. A step's seconds are dealt to fold and decode by their rows.
struct FoldTotals {
  int64_t folded_tokens = 0;
  int64_t chunks = 0;
  int64_t shared_tokens = 0;   // of prompts, that were not folded again
  int64_t new_tokens = 0;      // but for ends of text
  int64_t decoded_tokens = 0;  // rows of new tokens: a request's first one comes with the fold
  double fold_s = 0.0;
  double decode_s = 0.0;
};

class Scheduler {
 public:
  struct Callbacks {
    std::function<void(const Completion&)> done;
    // In its place where the request's logits are no numbers. Where it is empty, Step throws.
    std::function<void(const Error&)> failed;
    std::function<void(int64_t chunk, int64_t n_chunks, int64_t tokens_done)>
        folded;  // after every chunk folded for this request; may be empty
    std::function<void(std::string_view piece)>
        text;  // whole characters as they come; not called where `stop` is set; may be empty
    std::function<void(std::span<const float>)>
        logits;  // every row that a token is drawn from; may be empty
  };
  struct Submission {
    Request request;
    Callbacks callbacks;
    // Made for the request's stop strings; null: there is no text, and no stop string ends it.
    std::unique_ptr<Reply> reply = nullptr;
    bool checked = false;  // Check has passed it for this engine: it is not checked again
  };

  // Engine and embeddings must outlive it.
  Scheduler(Engine& engine, const EmbeddingSource& embeddings, SchedulerOptions options);
  ~Scheduler();

  // Positions that a request takes in the cache: its last new token is never fed back.
  static int64_t CacheTokens(const Request& request);
  // Throws InputError where a request can never run on a cache of max_tokens positions: an empty
  // prompt, a token outside the vocabulary, more positions than the cache holds.
  static void Check(const Request& request, const ModelConfig& config, int64_t max_tokens);
  // Takes a request; it starts when there is room, in the order of submission. Throws as Check
  // does.
  void Submit(Submission submission);
  void Submit(Request request, Callbacks callbacks) {
    Submit({std::move(request), std::move(callbacks)});
  }
  // Takes requests that fold once what they all begin with. Returns how many tokens that is: 0
  // where they have no whole chunk in common or the engine has no sequence for it. Throws as Check
  // does, and then has taken none.
  int64_t SubmitTogether(std::vector<Submission> submissions);
  // One step over all that run. False where nothing is left to do. A request that fails ends alone
  // (Callbacks::failed): the others go on.
  bool Step();

  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const FoldTotals& totals() const { return totals_; }

 private:
  struct Running;
  struct Prefix;
  struct Planned;
  void Admit();
  bool AdmitFork(Running& next);
  bool HasRoom(int64_t n_sequences, int64_t cache_tokens) const;
  Planned PlanStep();
  void Account(const Planned& planned, double seconds);
  void FreeRoom(const Running& finished);
  void EndText(Running& running);
  void Finish(Running& running, const char* reason);
  void TakeToken(Running& running, TokenId token);
  void End(const Running& finished);

  Engine& engine_;
  const EmbeddingSource& embeddings_;
  SchedulerOptions options_;
  FoldTotals totals_;
  int64_t reserved_tokens_ = 0;
  std::deque<std::unique_ptr<Running>> waiting_;
  std::list<std::unique_ptr<Running>> running_;
  // The prefix that the next of waiting_ fork; one at a time, since they wait in a row.
  std::shared_ptr<Prefix> prefix_;
};

}  // namespace kvfold
