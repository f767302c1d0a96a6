#include "runtime/fold/shared_prefix.h"

#include <algorithm>

#include "shard/kv_layout.h"

namespace kvfold {

int64_t CommonTokens(std::span<const TokenId> a, std::span<const TokenId> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

int64_t ShareableTokens(int64_t common_tokens, int64_t shortest_prompt, int64_t chunk) {
  return std::min(common_tokens, shortest_prompt - 1) / chunk * chunk;
}

int64_t OwnCacheTokens(int64_t cache_tokens, int64_t shared_tokens) {
  return cache_tokens - shared_tokens / kBlockTokens * kBlockTokens;
}

int64_t FittingPrefix(int64_t shared_tokens, int64_t cache_tokens, int64_t chunk,
                      int64_t max_tokens) {
  // Beside a prefix that fills its blocks a fork takes nothing twice, so this ends at the latest
  // where it does.
  int64_t tokens = shared_tokens;
  while (tokens > 0 && tokens + OwnCacheTokens(cache_tokens, tokens) > max_tokens) tokens -= chunk;
  return tokens;
}

}  // namespace kvfold
