#include "runtime/fold/scheduler.h"

#include <algorithm>
#include <chrono>

#include "comm/error.h"

namespace kvfold {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

struct Scheduler::Running {
  Request request;
  Callbacks callbacks;
  int64_t id = 0;
  uint64_t key = 0;
  int64_t fed = 0;  // tokens of prompt and completion that are in the cache
  bool done = false;
  Completion completion;
  std::unique_ptr<StreamDecoder> decoder;
  Clock::time_point started, first_token;

  int64_t prompt_tokens() const { return static_cast<int64_t>(request.tokens.size()); }
  bool folding() const { return fed < prompt_tokens(); }
  // The tokens of its next step: a chunk of the prompt, or the newest token.
  std::vector<TokenId> Next(int64_t chunk) const {
    if (!folding()) return {completion.tokens.back()};
    const int64_t end = std::min(prompt_tokens(), fed + chunk);
    return {request.tokens.begin() + fed, request.tokens.begin() + end};
  }
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
}
Scheduler::~Scheduler() = default;

int64_t Scheduler::CacheTokens(const Request& request) {
  return static_cast<int64_t>(request.tokens.size()) +
         std::max<int64_t>(0, request.max_new_tokens - 1);
}

void Scheduler::Check(const Request& request) const {
  if (request.tokens.empty()) throw InputError("the prompt is empty, expected at least one token");
  for (const TokenId token : request.tokens) {
    if (token < 0 || token >= engine_.config().vocab_size) {
      throw InputError(fmt::format("token id {} is outside the vocabulary, expected 0 to {}", token,
                                   engine_.config().vocab_size - 1));
    }
  }
  if (request.max_new_tokens < 1) {
    throw InputError(
        fmt::format("max_new_tokens is {}, expected at least 1", request.max_new_tokens));
  }
  const int64_t needed = CacheTokens(request);
  if (needed > engine_.options().max_tokens) {
    throw InputError(fmt::format(
        "the prompt has {} tokens and asks for up to {} new ones, {} positions of the cache, which "
        "holds {}: raise --max-tokens",
        request.tokens.size(), request.max_new_tokens, needed, engine_.options().max_tokens));
  }
  CheckSamplingOptions(request.sampling);
}

void Scheduler::Submit(Request request, Callbacks callbacks) {
  Check(request);
  auto running = std::make_unique<Running>();
  running->key = RequestKey(request.id);
  running->completion.prompt_tokens = static_cast<int64_t>(request.tokens.size());
  running->request = std::move(request);
  running->callbacks = std::move(callbacks);
  if (tokenizer_ != nullptr) running->decoder = std::make_unique<StreamDecoder>(*tokenizer_);
  waiting_.push_back(std::move(running));
}

void Scheduler::Admit() {
  while (!waiting_.empty() &&
         static_cast<int64_t>(running_.size()) < engine_.options().max_sequences) {
    const int64_t needed = CacheTokens(waiting_.front()->request);
    if (reserved_tokens_ + needed > engine_.options().max_tokens) return;
    reserved_tokens_ += needed;
    waiting_.front()->id = next_id_++;
    waiting_.front()->started = Clock::now();
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

bool Scheduler::Step() {
  Admit();
  if (running_.empty()) return false;

  StepPlan plan;
  plan.logit_use = LogitUse::kGather;
  plan.releases = std::move(releases_);
  releases_.clear();
  std::vector<Running*> in_step;
  std::vector<Running*> by_row;  // whose logits the wanted rows are
  int64_t rows = 0;
  const auto hidden = static_cast<size_t>(embeddings_.hidden());
  for (const auto& running : running_) {
    const std::vector<TokenId> tokens = running->Next(options_.chunk);
    const auto n_tokens = static_cast<int64_t>(tokens.size());
    if (rows + n_tokens > engine_.options().max_step_rows) continue;  // its turn comes
    rows += n_tokens;
    const bool last = running->fed + n_tokens >= running->prompt_tokens();
    plan.sequences.push_back({running->id, running->fed, n_tokens, last ? 1 : 0});
    plan.embeddings.resize(static_cast<size_t>(rows) * hidden);
    embeddings_.Take(running->id, tokens,
                     plan.embeddings.data() + static_cast<size_t>(rows - n_tokens) * hidden);
    in_step.push_back(running.get());
    if (last) by_row.push_back(running.get());
  }
  // The next chunks' rows are read while this step runs.
  std::vector<Running*> folded;
  for (size_t i = 0; i < in_step.size(); ++i) {
    Running& running = *in_step[i];
    if (running.folding()) {
      ++running.completion.chunks;
      folded.push_back(&running);
    }
    running.fed += plan.sequences[i].n_tokens;
    if (running.folding()) embeddings_.Prefetch(running.id, running.Next(options_.chunk));
  }

  engine_.Run(plan, [&](int64_t row, std::span<const float> logits) {
    TakeToken(*by_row[static_cast<size_t>(row)], logits);
  });

  for (const Running* running : folded) {
    const int64_t n_chunks = (running->prompt_tokens() + options_.chunk - 1) / options_.chunk;
    if (running->callbacks.folded) {
      running->callbacks.folded(running->completion.chunks, n_chunks,
                                std::min(running->fed, running->prompt_tokens()));
    }
  }
  for (auto it = running_.begin(); it != running_.end();) {
    if (!(*it)->done) {
      ++it;
      continue;
    }
    reserved_tokens_ -= CacheTokens((*it)->request);
    releases_.push_back((*it)->id);
    const std::unique_ptr<Running> finished = std::move(*it);
    it = running_.erase(it);
    if (finished->callbacks.done) finished->callbacks.done(finished->completion);
  }
  return true;
}

void Scheduler::TakeToken(Running& running, std::span<const float> logits) {
  Completion& completion = running.completion;
  const auto n_new = static_cast<int64_t>(completion.tokens.size());
  const TokenId token =
      SampleToken(logits, running.request.sampling, running.key, running.prompt_tokens() + n_new);
  if (n_new == 0) {
    running.first_token = Clock::now();
    completion.fold_s = SecondsSince(running.started);
  }
  if (std::ranges::find(options_.eos_ids, token) != options_.eos_ids.end())
    return Finish(running, "stop");
  completion.tokens.push_back(token);
  if (running.decoder != nullptr) {
    const std::string piece = running.decoder->Push(token);
    completion.text += piece;
    size_t cut = std::string::npos;
    for (const std::string& stop : running.request.stop) {
      if (stop.empty()) continue;
      const size_t new_from = completion.text.size() - piece.size();  // none ended before it
      const size_t from = new_from - std::min(new_from, stop.size() - 1);
      cut = std::min(cut, completion.text.find(stop, from));
    }
    if (cut != std::string::npos) {
      completion.text.resize(cut);
      running.decoder.reset();  // what it still holds comes after the stop string
      return Finish(running, "stop");
    }
    if (running.callbacks.text && running.request.stop.empty() && !piece.empty())
      running.callbacks.text(piece);
  }
  if (n_new + 1 >= running.request.max_new_tokens) Finish(running, "length");
}

void Scheduler::Finish(Running& running, const char* reason) {
  running.done = true;
  running.completion.finish_reason = reason;
  running.completion.decode_s = SecondsSince(running.first_token);
  if (running.decoder == nullptr) return;
  const std::string piece = running.decoder->Finish();
  running.completion.text += piece;
  if (running.callbacks.text && running.request.stop.empty() && !piece.empty())
    running.callbacks.text(piece);
}

}  // namespace kvfold
