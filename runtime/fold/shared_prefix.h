// runtime/fold/shared_prefix.h: what requests that begin alike fold once. Pure arithmetic.
//
// A request's chunks are cut from its own start, and its bits are those that it has alone. So only
// whole chunks are shared, and never a request's last token: its logits are its own.
#pragma once

#include <cstdint>
#include <span>

#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// Tokens that both begin with.
int64_t CommonTokens(std::span<const TokenId> a, std::span<const TokenId> b);

// How many of `common_tokens`, which prompts of at least `shortest_prompt` tokens begin with, can
// be folded once: whole chunks, and a token left for each. Requires chunk >= 1, shortest_prompt >=
// 1.
int64_t ShareableTokens(int64_t common_tokens, int64_t shortest_prompt, int64_t chunk);

// Positions that a request of `cache_tokens` takes beside a shared prefix: its own, and the copy of
// the prefix's last block where that is not full.
int64_t OwnCacheTokens(int64_t cache_tokens, int64_t shared_tokens);

// The largest whole number of chunks up to `shared_tokens` whose fork of `cache_tokens` fits
// beside the prefix into max_tokens positions. Requires cache_tokens <= max_tokens.
int64_t FittingPrefix(int64_t shared_tokens, int64_t cache_tokens, int64_t chunk,
                      int64_t max_tokens);

}  // namespace kvfold
