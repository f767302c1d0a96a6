// runtime/eval/score.h: teacher-forced log-likelihood of a text, chunk by chunk. Rank 0 drives; the
// other ranks follow the engine.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/tokenizer/tokenizer.h"
#include "runtime/fold/engine.h"
#include "runtime/weights/embedding_source.h"

namespace kvfold {

struct ScoreResult {
  int64_t tokens = 0;
  int64_t chunks = 0;
  double nll = 0.0;  // mean nats per scored token: -log p(token t | tokens before it), t >= 1
  std::vector<double> nll_by_chunk;  // likewise over the scored tokens of each chunk
  double fold_s = 0.0;
};

struct ScoreCallbacks {
  std::function<void(int64_t chunk, int64_t n_chunks, int64_t tokens_done)> folded;
  LogitSink logits;  // if set: all logits, row t after tokens [0, t], in order
};

// Requires at least two tokens, all within the vocabulary (InputError otherwise), no more than the
// engine's max_tokens. Throws Error (kFailed) naming the first position whose logits are no numbers
// (sampler.h), where it is scored or its logits are asked for, or where the next token has no
// probability at all: no score is ever NaN or infinite.
ScoreResult ScoreTokens(Engine& engine, const EmbeddingSource& embeddings,
                        std::span<const TokenId> tokens, int64_t chunk,
                        const ScoreCallbacks& callbacks);

}  // namespace kvfold
