#include "runtime/fold/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/base/rounding.h"
#include "comm/base/stopwatch.h"
#include "comm/error.h"
#include "runtime/fold/sequence.h"
#include "runtime/fold/shared_prefix.h"
#include "shard/kv_layout.h"

namespace kvfold {

// What requests that begin alike share: a sequence that folds it and then waits to be forked.
struct Scheduler::Prefix {
  PromptTokens tokens;  // until it is begun
  int64_t n_tokens = 0;
  std::optional<Sequence> sequence;  // once it is begun, until the last request takes it over
  int64_t chunks = 0;                // folded
  int64_t to_fork = 0;               // requests that still want it
  int64_t unfinished = 0;            // requests that hold its blocks, or will
  bool forked = false;
  Stopwatch started;

  bool folding() const { return sequence->folding(); }
  // Positions that its full blocks take for as long as one of its requests lives.
  int64_t full_block_tokens() const { return n_tokens / kBlockTokens * kBlockTokens; }
};

struct Scheduler::Running {
  Request request;
  Callbacks callbacks;
  std::shared_ptr<Prefix> prefix;    // null: it shares nothing
  int64_t cache_tokens = 0;          // CacheTokens(request)
  std::optional<Sequence> sequence;  // once it runs: its prompt is folded there
  uint64_t key = 0;
  bool done = false;
  std::optional<Error> error;  // it failed; then it is done too
  Completion completion;
  std::unique_ptr<Reply> reply;  // null: there is no text
  Stopwatch started, first_token;

  int64_t prompt_tokens() const { return completion.prompt_tokens; }
  // Of the token to be chosen next.
  int64_t next_position() const {
    return prompt_tokens() + static_cast<int64_t>(completion.tokens.size());
  }
  void Fail(const Error& problem) {
    error = problem;
    done = true;
  }
  // Whether its next token takes a whole row of logits, not only where the largest is.
  bool wants_logits() const { return request.sampling.temperature > 0.0 || callbacks.logits; }
  int64_t own_cache_tokens() const {
    return OwnCacheTokens(cache_tokens, prefix ? prefix->n_tokens : 0);
  }
  // Text that a stop string may still cut is never told.
  void TellText() const {
    if (callbacks.text && request.stop.empty() && !reply->piece().empty())
      callbacks.text(reply->piece());
  }
  // A chunk was folded for it, up to token `end` of the prompt.
  void TellFolded(int64_t chunks, int64_t end, int64_t chunk) const {
    if (!callbacks.folded) return;
    const int64_t n_tokens = prompt_tokens() - completion.shared_tokens;
    callbacks.folded(chunks, CeilDiv(n_tokens, chunk), end - completion.shared_tokens);
  }
};

// A step, and whose rows are in it.
struct Scheduler::Planned {
  StepPlan plan;
  std::vector<Running*> folded;  // those that fold a chunk
  std::vector<Running*> by_row;  // whose logits the wanted rows are
  bool prefix = false;           // the shared prefix folds a chunk
  int64_t fold_rows = 0;
  int64_t decode_rows = 0;
};

Scheduler::Scheduler(Engine& engine, const EmbeddingSource& embeddings, SchedulerOptions options)
    : engine_(engine), embeddings_(embeddings), options_(std::move(options)) {
  Sequence(engine, embeddings, options_.chunk);  // a chunk that no step could take is a bug
  if (options_.concurrency == 0) options_.concurrency = engine.options().cache.sequences;
}
Scheduler::~Scheduler() = default;

int64_t Scheduler::CacheTokens(const Request& request) {
  return static_cast<int64_t>(request.tokens.size()) +
         std::max<int64_t>(0, request.max_new_tokens - 1);
}

void Scheduler::Check(const Request& request, const ModelConfig& config, int64_t max_tokens) {
  if (request.tokens.empty()) throw InputError("the prompt is empty, expected at least one token");
  for (size_t at = 0; at < request.tokens.size();) {
    const std::span<const TokenId> row = request.tokens.RowAt(at);
    for (const TokenId token : row) {
      if (token < 0 || token >= config.vocab_size) {
        throw InputError(fmt::format("token id {} is outside the vocabulary, expected 0 to {}",
                                     token, config.vocab_size - 1));
      }
    }
    at += row.size();
  }
  if (request.max_new_tokens < 1) {
    throw InputError(
        fmt::format("max_new_tokens is {}, expected at least 1", request.max_new_tokens));
  }
  const int64_t needed = CacheTokens(request);
  if (needed > max_tokens) {
    throw InputError(fmt::format(
        "the prompt has {} tokens and asks for up to {} new ones, {} positions of the cache, which "
        "holds {}: raise --max-tokens",
        request.tokens.size(), request.max_new_tokens, needed, max_tokens));
  }
  CheckSamplingOptions(request.sampling);
}

void Scheduler::Submit(Submission submission) {
  std::vector<Submission> alone;
  alone.push_back(std::move(submission));
  SubmitTogether(std::move(alone));
}

int64_t Scheduler::SubmitTogether(std::vector<Submission> submissions) {
  for (const Submission& submission : submissions) {
    if (!submission.checked)
      Check(submission.request, engine_.config(), engine_.options().cache.tokens);
  }
  std::shared_ptr<Prefix> prefix;
  if (submissions.size() > 1 && engine_.options().cache.sequences > 1) {
    const PromptTokens& first = submissions.front().request.tokens;
    auto common = static_cast<int64_t>(first.size());
    auto shortest = common;
    int64_t longest = 0;
    for (const Submission& submission : submissions) {
      common = std::min(common, first.CommonWith(submission.request.tokens));
      shortest = std::min(shortest, static_cast<int64_t>(submission.request.tokens.size()));
      longest = std::max(longest, CacheTokens(submission.request));
    }
    const int64_t shared = FittingPrefix(ShareableTokens(common, shortest, options_.chunk), longest,
                                         options_.chunk, engine_.options().cache.tokens);
    if (shared > 0) {
      prefix = std::make_shared<Prefix>();
      prefix->tokens = first.Slice(0, static_cast<size_t>(shared));
      prefix->n_tokens = shared;
      prefix->to_fork = prefix->unfinished = static_cast<int64_t>(submissions.size());
    }
  }
  for (Submission& submission : submissions) {
    auto running = std::make_unique<Running>();
    running->key = RequestKey(submission.request.id);
    running->completion.prompt_tokens = static_cast<int64_t>(submission.request.tokens.size());
    running->cache_tokens = CacheTokens(submission.request);
    running->request = std::move(submission.request);
    running->callbacks = std::move(submission.callbacks);
    running->reply = std::move(submission.reply);
    running->prefix = prefix;
    waiting_.push_back(std::move(running));
  }
  return prefix ? prefix->n_tokens : 0;
}

bool Scheduler::HasRoom(int64_t n_sequences, int64_t cache_tokens) const {
  const auto n_running = static_cast<int64_t>(running_.size());
  return n_running < options_.concurrency &&
         n_running + (prefix_ ? 1 : 0) + n_sequences <= engine_.options().cache.sequences &&
         reserved_tokens_ + cache_tokens <= engine_.options().cache.tokens;
}

void Scheduler::Admit() {
  while (!waiting_.empty()) {
    Running& next = *waiting_.front();
    if (next.prefix) {
      if (!AdmitFork(next)) return;
    } else {
      const int64_t needed = next.own_cache_tokens();
      if (!HasRoom(1, needed)) return;
      reserved_tokens_ += needed;
      next.sequence.emplace(engine_, embeddings_, options_.chunk);
      next.started = Stopwatch();
    }
    next.sequence->Fold(std::move(next.request.tokens));
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

// Begins the prefix of the first that waits, or lets that one go on from it. Whoever runs has all
// the room that it will need and waits for nobody, and the prefix fits beside any one of its
// requests (FittingPrefix): so room comes.
bool Scheduler::AdmitFork(Running& next) {
  Prefix& prefix = *next.prefix;
  if (prefix_ == nullptr) {
    if (!HasRoom(1, prefix.n_tokens)) return false;
    reserved_tokens_ += prefix.n_tokens;
    prefix.sequence.emplace(engine_, embeddings_, options_.chunk);
    prefix.sequence->Fold(std::move(prefix.tokens));
    prefix.started = Stopwatch();
    prefix_ = next.prefix;
  }
  if (prefix.folding()) return false;
  // The last one needs no fork: it goes on in the prefix's own sequence.
  const bool last = prefix.to_fork == 1;
  const int64_t open_tail = prefix.n_tokens - prefix.full_block_tokens();
  const int64_t needed = next.own_cache_tokens() - (last ? open_tail : 0);
  if (!HasRoom(last ? 0 : 1, needed)) return false;
  reserved_tokens_ += needed;
  if (last) {
    next.sequence.emplace(std::move(*prefix.sequence));
    prefix.sequence.reset();
    prefix_.reset();
  } else {
    next.sequence.emplace(prefix.sequence->Fork());
  }
  --prefix.to_fork;
  if (prefix.forked) {
    next.started = Stopwatch();
    next.completion.shared_tokens = prefix.n_tokens;
    totals_.shared_tokens += prefix.n_tokens;
  } else {  // it was folded for this one
    next.started = prefix.started;
    next.completion.chunks = prefix.chunks;
    prefix.forked = true;
  }
  return true;
}

Scheduler::Planned Scheduler::PlanStep() {
  Planned planned;
  StepPlan& plan = planned.plan;
  for (const auto& running : running_) {
    Sequence& sequence = *running->sequence;
    const bool folding = sequence.folding();
    if (!(folding ? sequence.FeedChunk(plan, Sequence::LogitRows::kLast)
                  : sequence.FeedToken(plan, running->completion.tokens.back())))
      continue;  // its turn comes
    (folding ? planned.fold_rows : planned.decode_rows) += plan.sequences.back().n_tokens;
    if (folding) {
      ++running->completion.chunks;
      planned.folded.push_back(running.get());
    }
    if (!sequence.folding()) planned.by_row.push_back(running.get());
  }
  if (prefix_ && prefix_->folding()) {
    planned.prefix = prefix_->sequence->FeedChunk(plan, Sequence::LogitRows::kNone);
    if (planned.prefix) {
      ++prefix_->chunks;
      planned.fold_rows += plan.sequences.back().n_tokens;
    }
  }
  const bool gather = std::ranges::any_of(planned.by_row, &Running::wants_logits);
  plan.logit_use = gather ? LogitUse::kGather : LogitUse::kArgMax;
  return planned;
}

void Scheduler::Account(const Planned& planned, double seconds) {
  const double share = seconds / static_cast<double>(planned.fold_rows + planned.decode_rows);
  totals_.fold_s += share * static_cast<double>(planned.fold_rows);
  totals_.decode_s += share * static_cast<double>(planned.decode_rows);
  totals_.folded_tokens += planned.fold_rows;
  totals_.decoded_tokens += planned.decode_rows;
  totals_.chunks += static_cast<int64_t>(planned.folded.size()) + (planned.prefix ? 1 : 0);
}

bool Scheduler::Step() {
  Admit();
  if (running_.empty() && !prefix_) {
    KVFOLD_CHECK(waiting_.empty(), "waiting", waiting_.size(), "reserved_tokens", reserved_tokens_);
    if (!engine_.has_changes()) return false;
    StepPlan plan;  // the blocks of those that ended last
    engine_.Run(plan, {});
    return false;
  }
  const Stopwatch stopwatch;
  Planned planned = PlanStep();
  const auto take = [this](Running& running, auto&& choose) {
    TokenId token = 0;
    try {
      token = choose();
    } catch (const Error& error) {
      return running.Fail(error);
    }
    TakeToken(running, token);
  };
  const StepResult result = engine_.Run(planned.plan, [&](int64_t row,
                                                          std::span<const float> logits) {
    Running& running = *planned.by_row[static_cast<size_t>(row)];
    if (running.callbacks.logits) running.callbacks.logits(logits);
    take(running, [&] {
      return SampleToken(logits, running.request.sampling, running.key, running.next_position());
    });
  });
  for (size_t row = 0; row < result.arg_max.size(); ++row) {
    Running& running = *planned.by_row[row];
    take(running, [&] { return GreedyToken(result.arg_max[row], running.next_position()); });
  }
  Account(planned, stopwatch.seconds());

  for (const Running* running : planned.folded) {
    running->TellFolded(running->completion.chunks, running->sequence->length(), options_.chunk);
  }
  if (planned.prefix)  // the first of those that wait for it is told: it is folded for that one
    waiting_.front()->TellFolded(prefix_->chunks, prefix_->sequence->length(), options_.chunk);
  for (auto it = running_.begin(); it != running_.end();) {
    if (!(*it)->done) {
      ++it;
      continue;
    }
    const std::unique_ptr<Running> finished = std::move(*it);
    it = running_.erase(it);
    finished->sequence.reset();
    FreeRoom(*finished);
    End(*finished);
  }
  return true;
}

void Scheduler::End(const Running& finished) {
  if (finished.error) {
    if (!finished.callbacks.failed) throw *finished.error;
    finished.callbacks.failed(*finished.error);
  } else if (finished.callbacks.done) {
    finished.callbacks.done(finished.completion);
  }
}

void Scheduler::FreeRoom(const Running& finished) {
  reserved_tokens_ -= finished.own_cache_tokens();
  if (!finished.prefix || --finished.prefix->unfinished > 0) return;
  reserved_tokens_ -= finished.prefix->full_block_tokens();
}

void Scheduler::TakeToken(Running& running, TokenId token) {
  Completion& completion = running.completion;
  const auto n_new = static_cast<int64_t>(completion.tokens.size());
  if (n_new == 0) {
    running.first_token = Stopwatch();
    completion.fold_s = running.started.seconds();
  }
  const auto is_end = [&](const auto& ids) { return std::ranges::find(ids, token) != ids.end(); };
  if (is_end(options_.eos_ids) || is_end(running.request.end_ids)) {
    if (running.reply != nullptr && running.reply->TakeEnd(token)) return Finish(running, "stop");
    EndText(running);
    return Finish(running, "stop");
  }
  completion.tokens.push_back(token);
  ++totals_.new_tokens;
  if (running.reply != nullptr) {
    if (running.reply->Take(token)) return Finish(running, "stop");
    running.TellText();
  }
  if (n_new + 1 < running.request.max_new_tokens) return;
  EndText(running);
  Finish(running, "length");
}

void Scheduler::EndText(Running& running) {
  if (running.reply == nullptr) return;
  running.reply->Finish();
  running.TellText();
}

void Scheduler::Finish(Running& running, const char* reason) {
  running.done = true;
  running.completion.finish_reason = reason;
  running.completion.decode_s = running.first_token.seconds();
  if (running.reply != nullptr) running.completion.text = running.reply->text();
}

}  // namespace kvfold
