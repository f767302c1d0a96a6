#include "runtime/fold/sequence.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace kvfold {

Sequence::Sequence(Engine& engine, const EmbeddingSource& embeddings, int64_t chunk)
    : engine_(&engine), embeddings_(&embeddings), chunk_(chunk), id_(engine.NewSequenceId()) {
  const EngineOptions& options = engine.options();
  KVFOLD_CHECK(chunk >= 1 && chunk <= options.cache.chunk && chunk <= options.max_step_rows,
               "chunk", chunk, "most", options.cache.chunk, "max_step_rows", options.max_step_rows);
}

Sequence::~Sequence() {
  if (engine_ != nullptr && length_ > 0) engine_->Release(id_);
}

Sequence::Sequence(Sequence&& other) noexcept
    : engine_(std::exchange(other.engine_, nullptr)),
      embeddings_(other.embeddings_),
      chunk_(other.chunk_),
      id_(other.id_),
      length_(other.length_),
      text_(std::move(other.text_)),
      ahead_(std::move(other.ahead_)) {}

void Sequence::Fold(PromptTokens text) {
  ahead_ = {};
  text_ = std::move(text);
}

std::vector<TokenId> Sequence::NextChunk() const {
  const int64_t end = std::min(static_cast<int64_t>(text_.size()), length_ + chunk_);
  return text_.Slice(static_cast<size_t>(length_), static_cast<size_t>(end));
}

// Room for its rows in the plan; false where the step has none.
bool Sequence::Feed(StepPlan& plan, int64_t n_tokens, int64_t n_logit_rows) {
  const auto hidden = static_cast<size_t>(embeddings_->hidden());
  const auto rows = static_cast<int64_t>(plan.embeddings.size() / hidden);
  if (rows + n_tokens > engine_->options().max_step_rows) return false;
  plan.sequences.push_back({id_, length_, n_tokens, n_logit_rows});
  plan.embeddings.resize(static_cast<size_t>(rows + n_tokens) * hidden);
  length_ += n_tokens;
  return true;
}

bool Sequence::FeedChunk(StepPlan& plan, LogitRows wanted) {
  KVFOLD_CHECK(folding(), "length", length_, "text", text_.size());
  const std::vector<TokenId> tokens = NextChunk();
  const auto n_tokens = static_cast<int64_t>(tokens.size());
  const bool last = length_ + n_tokens == static_cast<int64_t>(text_.size());
  const size_t begin = plan.embeddings.size();
  const int64_t n_logit_rows = wanted == LogitRows::kAll            ? n_tokens
                               : wanted == LogitRows::kLast && last ? 1
                                                                    : 0;
  if (!Feed(plan, n_tokens, n_logit_rows)) return false;
  float* const rows = plan.embeddings.data() + begin;
  if (ahead_.valid()) {
    std::ranges::copy(ahead_.get(), rows);
  } else {
    embeddings_->Gather(tokens, rows);
  }
  if (!folding()) {
    text_ = {};
    return true;
  }
  ahead_ = std::async(std::launch::async, [embeddings = embeddings_, next = NextChunk()] {
    std::vector<float> gathered(next.size() * static_cast<size_t>(embeddings->hidden()));
    embeddings->Gather(next, gathered.data());
    return gathered;
  });
  return true;
}

bool Sequence::FeedToken(StepPlan& plan, TokenId token) {
  KVFOLD_CHECK(!folding(), "length", length_, "text", text_.size());
  const size_t begin = plan.embeddings.size();
  if (!Feed(plan, 1, 1)) return false;
  embeddings_->Gather(std::span(&token, 1), plan.embeddings.data() + begin);
  return true;
}

Sequence Sequence::Fork() const {
  Sequence fork(*engine_, *embeddings_, chunk_);
  fork.length_ = length_;
  if (length_ > 0) engine_->Fork({fork.id_, id_, length_});
  return fork;
}

}  // namespace kvfold
