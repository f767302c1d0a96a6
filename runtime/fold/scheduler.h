// runtime/fold/scheduler.h: requests through an engine, on rank 0: each folds its prompt chunk by
// chunk and then decodes; those that decode ride along in the steps of those that fold. A request's
// chunks are cut from its own start, whatever rides beside it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/engine.h"
#include "runtime/fold/sampler.h"
#include "runtime/weights/embedding_source.h"

namespace kvfold {

struct Request {
  std::string id;
  std::vector<TokenId> tokens;  // the prompt, at least one
  int64_t max_new_tokens = 0;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // text ends before the first of these
};

struct Completion {
  std::string text;  // empty without a tokenizer
  std::vector<TokenId> tokens;
  std::string finish_reason;  // "stop": end of text or a stop string; "length": max_new_tokens
  int64_t prompt_tokens = 0;
  int64_t chunks = 0;
  double fold_s = 0.0;    // from the first chunk's start to the first new token
  double decode_s = 0.0;  // from there to the last
};

struct SchedulerOptions {
  int64_t chunk = 256;
  std::vector<int64_t> eos_ids;
};

class Scheduler {
 public:
  struct Callbacks {
    std::function<void(const Completion&)> done;
    std::function<void(int64_t chunk, int64_t n_chunks, int64_t tokens_done)>
        folded;  // after every chunk; may be empty
    std::function<void(std::string_view piece)>
        text;  // whole characters as they come; not called where `stop` is set; may be empty
  };

  // `tokenizer` may be null: then there is no text and no stop string. All must outlive it.
  Scheduler(Engine& engine, EmbeddingSource& embeddings, const Tokenizer* tokenizer,
            SchedulerOptions options);
  ~Scheduler();

  // Positions that a request takes in the cache: its last new token is never fed back.
  static int64_t CacheTokens(const Request& request);
  // Throws InputError where a request can never run: an empty prompt, a token outside the
  // vocabulary, more positions than the cache holds.
  void Check(const Request& request) const;
  // Takes a request; it starts when there is room, in the order of submission. Throws as Check
  // does.
  void Submit(Request request, Callbacks callbacks);
  // One step over all that run. False where nothing is left to do.
  bool Step();

  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }

 private:
  struct Running;
  void Admit();
  void Finish(Running& running, const char* reason);
  void TakeToken(Running& running, std::span<const float> logits);

  Engine& engine_;
  EmbeddingSource& embeddings_;
  const Tokenizer* tokenizer_;
  SchedulerOptions options_;
  int64_t next_id_ = 0;
  int64_t reserved_tokens_ = 0;
  std::deque<std::unique_ptr<Running>> waiting_;
  std::list<std::unique_ptr<Running>> running_;
  std::vector<int64_t> releases_;
};

}  // namespace kvfold
