// runtime/fold/sequence.h: one sequence of an engine, owned: its text is folded chunk by chunk, it
// may be forked, and its blocks are freed when it goes. Of whoever drives the engine.
//
//   Sequence text(engine, embeddings, chunk);
//   text.Fold(tokens);
//   while (text.folding()) {
//     StepPlan plan;
//     text.FeedChunk(plan, Sequence::LogitRows::kNone);  // other sequences may join the step
//     engine.Run(plan, {});
//   }
#pragma once

#include <cstdint>
#include <future>
#include <span>
#include <vector>

#include "runtime/fold/engine.h"
#include "runtime/fold/prompt_tokens.h"
#include "runtime/weights/embedding_source.h"

namespace kvfold {

// Releases and forks go with the engine's next step. A sequence that goes in the middle of its text
// is released like any other. One thread a group of sequences of one engine.
class Sequence {
 public:
  // Of which of the tokens that a chunk brings logits are wanted: none, the text's last one, all.
  enum class LogitRows { kNone, kLast, kAll };

  // An empty sequence, which takes no memory before it is fed. `engine` and `embeddings` must
  // outlive it. Requires 1 <= chunk <= the engine's cache.chunk and max_step_rows.
  Sequence(Engine& engine, const EmbeddingSource& embeddings, int64_t chunk);
  ~Sequence();
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&&) = delete;

  // Tokens that it holds, or will hold when the step that they were put into has run.
  int64_t length() const { return length_; }
  // What is to be folded: a text that begins with what it holds.
  void Fold(PromptTokens text);
  // Whether some of the text is not fed yet.
  bool folding() const { return length_ < static_cast<int64_t>(text_.size()); }

  // Puts its next chunk of text into the step, and starts to gather the rows of the one after it.
  // Chunks are cut from the text's own start, whatever rides beside it. False where the step has no
  // room for it; then nothing has changed. Requires folding().
  bool FeedChunk(StepPlan& plan, LogitRows wanted);
  // Likewise one token behind all that it holds, whose logits are wanted. Requires !folding().
  bool FeedToken(StepPlan& plan, TokenId token);

  // A sequence that goes on where this one stands, which goes on unchanged. Requires that the steps
  // into which its tokens were put have run.
  Sequence Fork() const;

 private:
  bool Feed(StepPlan& plan, int64_t n_tokens, int64_t n_logit_rows);
  std::vector<TokenId> NextChunk() const;

  Engine* engine_;  // null: moved away
  const EmbeddingSource* embeddings_;
  int64_t chunk_;
  int64_t id_;
  int64_t length_ = 0;
  PromptTokens text_;                      // until it is fed
  std::future<std::vector<float>> ahead_;  // rows of the next chunk; waits for its thread
};

}  // namespace kvfold
