#include "runtime/fold/scheduler.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "comm/error.h"
#include "runtime/fold/reply.h"
#include "runtime/fold/shared_prefix.h"
#include "shard/kv_layout.h"

namespace kvfold {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

// What requests that begin alike share: a sequence that folds it and then waits to be forked.
struct Scheduler::Prefix {
  std::vector<TokenId> tokens;
  int64_t id = 0;          // of its sequence, until the last request takes that over
  int64_t fed = 0;         // tokens that are in the cache
  int64_t chunks = 0;      // folded
  int64_t to_fork = 0;     // requests that still want it
  int64_t unfinished = 0;  // requests that hold its blocks, or will
  bool forked = false;
  Clock::time_point started;

  int64_t n_tokens() const { return static_cast<int64_t>(tokens.size()); }
  bool folding() const { return fed < n_tokens(); }
  // Positions that its full blocks take for as long as one of its requests lives.
  int64_t full_block_tokens() const { return n_tokens() / kBlockTokens * kBlockTokens; }
  std::vector<TokenId> Next(int64_t chunk) const {
    return {tokens.begin() + fed, tokens.begin() + std::min(n_tokens(), fed + chunk)};
  }
};

struct Scheduler::Running {
  Request request;
  Callbacks callbacks;
  std::shared_ptr<Prefix> prefix;  // null: it shares nothing
  int64_t id = 0;                  // of its sequence
  uint64_t key = 0;
  int64_t fed = 0;  // tokens of prompt and completion that are in the cache
  bool done = false;
  std::optional<Error> error;  // it failed; then it is done too
  Completion completion;
  std::unique_ptr<Reply> reply;  // null without a tokenizer
  Clock::time_point started, first_token;

  int64_t prompt_tokens() const { return static_cast<int64_t>(request.tokens.size()); }
  // Of the token to be chosen next.
  int64_t next_position() const {
    return prompt_tokens() + static_cast<int64_t>(completion.tokens.size());
  }
  void Fail(const Error& trouble) {
    error = trouble;
    done = true;
  }
  // Whether its next token takes a whole row of logits, not only where the largest is.
  bool wants_logits() const { return request.sampling.temperature > 0.0 || callbacks.logits; }
  bool folding() const { return fed < prompt_tokens(); }
  int64_t own_cache_tokens() const {
    return OwnCacheTokens(CacheTokens(request), prefix ? prefix->n_tokens() : 0);
  }
  // The tokens of its next step: a chunk of the prompt, or the newest token.
  std::vector<TokenId> Next(int64_t chunk) const {
    if (!folding()) return {completion.tokens.back()};
    const int64_t end = std::min(prompt_tokens(), fed + chunk);
    return request.tokens.Slice(static_cast<size_t>(fed), static_cast<size_t>(end));
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
    callbacks.folded(chunks, (n_tokens + chunk - 1) / chunk, end - completion.shared_tokens);
  }
};

// A step, and whose rows are in it.
struct Scheduler::Planned {
  StepPlan plan;
  std::vector<Running*> in_step;
  std::vector<Running*> folded;  // those that fold a chunk
  std::vector<Running*> by_row;  // whose logits the wanted rows are
  bool prefix = false;           // the shared prefix folds a chunk
  int64_t fold_rows = 0;
  int64_t decode_rows = 0;
};

Scheduler::Scheduler(Engine& engine, EmbeddingSource& embeddings, const Tokenizer* tokenizer,
                     SchedulerOptions options)
    : engine_(engine),
      embeddings_(embeddings),
      tokenizer_(tokenizer),
      options_(std::move(options)) {
  KVFOLD_CHECK(options_.chunk >= 1 && options_.chunk <= engine.options().max_chunk, "chunk",
               options_.chunk, "max_chunk", engine.options().max_chunk);
  KVFOLD_CHECK(options_.chunk <= engine.options().max_step_rows, "chunk", options_.chunk,
               "max_step_rows", engine.options().max_step_rows);  // or no step could take a chunk
  if (options_.concurrency == 0) options_.concurrency = engine.options().max_sequences;
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

void Scheduler::Submit(Request request, Callbacks callbacks) {
  std::vector<Submission> alone;
  alone.push_back({std::move(request), std::move(callbacks)});
  SubmitTogether(std::move(alone));
}

int64_t Scheduler::SubmitTogether(std::vector<Submission> submissions) {
  for (const Submission& submission : submissions)
    Check(submission.request, engine_.config(), engine_.options().max_tokens);
  std::shared_ptr<Prefix> prefix;
  if (submissions.size() > 1 && engine_.options().max_sequences > 1) {
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
                                         options_.chunk, engine_.options().max_tokens);
    if (shared > 0) {
      prefix = std::make_shared<Prefix>();
      prefix->tokens = first.Slice(0, static_cast<size_t>(shared));
      prefix->to_fork = prefix->unfinished = static_cast<int64_t>(submissions.size());
    }
  }
  for (Submission& submission : submissions) {
    auto running = std::make_unique<Running>();
    running->key = RequestKey(submission.request.id);
    running->completion.prompt_tokens = static_cast<int64_t>(submission.request.tokens.size());
    running->request = std::move(submission.request);
    running->callbacks = std::move(submission.callbacks);
    running->prefix = prefix;
    if (tokenizer_ != nullptr) {
      running->reply = std::make_unique<Reply>(*tokenizer_, SpecialTextsOf(running->request),
                                               running->request.stop);
    }
    waiting_.push_back(std::move(running));
  }
  return prefix ? prefix->n_tokens() : 0;
}

bool Scheduler::HasRoom(int64_t n_sequences, int64_t cache_tokens) const {
  const auto n_running = static_cast<int64_t>(running_.size());
  return n_running < options_.concurrency &&
         n_running + (prefix_ ? 1 : 0) + n_sequences <= engine_.options().max_sequences &&
         reserved_tokens_ + cache_tokens <= engine_.options().max_tokens;
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
      next.id = next_id_++;
      next.started = Clock::now();
    }
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
    if (!HasRoom(1, prefix.n_tokens())) return false;
    reserved_tokens_ += prefix.n_tokens();
    prefix.id = next_id_++;
    prefix.started = Clock::now();
    prefix_ = next.prefix;
  }
  if (prefix.folding()) return false;
  // The last one needs no fork: it goes on in the prefix's own sequence.
  const bool last = prefix.to_fork == 1;
  const int64_t open_tail = prefix.n_tokens() - prefix.full_block_tokens();
  const int64_t needed = next.own_cache_tokens() - (last ? open_tail : 0);
  if (!HasRoom(last ? 0 : 1, needed)) return false;
  reserved_tokens_ += needed;
  if (last) {
    next.id = prefix.id;
    prefix_.reset();
  } else {
    next.id = next_id_++;
    forks_.push_back({next.id, prefix.id, prefix.n_tokens()});
  }
  --prefix.to_fork;
  next.fed = prefix.n_tokens();
  if (prefix.forked) {
    next.started = Clock::now();
    next.completion.shared_tokens = prefix.n_tokens();
    totals_.shared_tokens += prefix.n_tokens();
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
  plan.releases = std::exchange(releases_, {});
  plan.forks = std::exchange(forks_, {});
  int64_t rows = 0;
  const auto hidden = static_cast<size_t>(embeddings_.hidden());
  const auto add = [&](int64_t id, int64_t begin, const std::vector<TokenId>& tokens, bool logits) {
    const auto n_tokens = static_cast<int64_t>(tokens.size());
    if (rows + n_tokens > engine_.options().max_step_rows) return false;  // its turn comes
    plan.sequences.push_back({id, begin, n_tokens, logits ? 1 : 0});
    plan.embeddings.resize(static_cast<size_t>(rows + n_tokens) * hidden);
    embeddings_.Take(id, tokens, plan.embeddings.data() + static_cast<size_t>(rows) * hidden);
    rows += n_tokens;
    return true;
  };
  for (const auto& running : running_) {
    const std::vector<TokenId> tokens = running->Next(options_.chunk);
    const auto n_tokens = static_cast<int64_t>(tokens.size());
    const bool last = running->fed + n_tokens >= running->prompt_tokens();
    if (!add(running->id, running->fed, tokens, last)) continue;
    (running->folding() ? planned.fold_rows : planned.decode_rows) += n_tokens;
    planned.in_step.push_back(running.get());
    if (last) planned.by_row.push_back(running.get());
  }
  if (prefix_ && prefix_->folding()) {
    planned.prefix = add(prefix_->id, prefix_->fed, prefix_->Next(options_.chunk), false);
    if (planned.prefix) planned.fold_rows += plan.sequences.back().n_tokens;
  }
  const bool gather = std::ranges::any_of(planned.by_row, &Running::wants_logits);
  plan.logit_use = gather ? LogitUse::kGather : LogitUse::kLargest;
  // The next chunks' rows are read while this step runs.
  for (size_t i = 0; i < planned.in_step.size(); ++i) {
    Running& running = *planned.in_step[i];
    if (running.folding()) {
      ++running.completion.chunks;
      planned.folded.push_back(&running);
    }
    running.fed += plan.sequences[i].n_tokens;
    if (running.folding()) embeddings_.Prefetch(running.id, running.Next(options_.chunk));
  }
  if (planned.prefix) {
    ++prefix_->chunks;
    prefix_->fed += plan.sequences.back().n_tokens;
    if (prefix_->folding()) embeddings_.Prefetch(prefix_->id, prefix_->Next(options_.chunk));
  }
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
    if (releases_.empty()) return false;
    StepPlan plan;  // the blocks of those that ended last
    plan.releases = std::exchange(releases_, {});
    engine_.Run(plan, {});
    return false;
  }
  const auto start = Clock::now();
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
  for (size_t row = 0; row < result.largest.size(); ++row) {
    Running& running = *planned.by_row[row];
    take(running, [&] { return GreedyToken(result.largest[row], running.next_position()); });
  }
  Account(planned, SecondsSince(start));

  for (const Running* running : planned.folded) {
    running->TellFolded(running->completion.chunks,
                        std::min(running->fed, running->prompt_tokens()), options_.chunk);
  }
  if (planned.prefix)  // the first of those that wait for it is told: it is folded for that one
    waiting_.front()->TellFolded(prefix_->chunks, prefix_->fed, options_.chunk);
  for (auto it = running_.begin(); it != running_.end();) {
    if (!(*it)->done) {
      ++it;
      continue;
    }
    const std::unique_ptr<Running> finished = std::move(*it);
    it = running_.erase(it);
    Release(*finished);
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

void Scheduler::Release(const Running& finished) {
  releases_.push_back(finished.id);
  reserved_tokens_ -= finished.own_cache_tokens();
  if (!finished.prefix || --finished.prefix->unfinished > 0) return;
  reserved_tokens_ -= finished.prefix->full_block_tokens();
}

void Scheduler::TakeToken(Running& running, TokenId token) {
  Completion& completion = running.completion;
  const auto n_new = static_cast<int64_t>(completion.tokens.size());
  if (n_new == 0) {
    running.first_token = Clock::now();
    completion.fold_s = SecondsSince(running.started);
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
  running.completion.decode_s = SecondsSince(running.first_token);
  if (running.reply != nullptr) running.completion.text = running.reply->text();
}

// Most requests have no stop strings, and a vocabulary is long.
const std::vector<std::string>& Scheduler::SpecialTextsOf(const Request& request) {
  static const std::vector<std::string> kNone;
  if (request.stop.empty()) return kNone;
  if (!special_texts_.has_value()) special_texts_ = SpecialTexts(*tokenizer_);
  return *special_texts_;
}

}  // namespace kvfold
