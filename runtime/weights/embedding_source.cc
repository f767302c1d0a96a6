#include "runtime/weights/embedding_source.h"

#include <algorithm>

#include "comm/error.h"
#include "runtime/weights/weights.h"

namespace kvfold {

EmbeddingSource::EmbeddingSource(const ModelConfig& config, const Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      tensor_(checkpoint.Expect(kEmbeddingTensor, config.vocab_size, config.hidden)),
      hidden_(config.hidden) {}

EmbeddingSource::~EmbeddingSource() = default;  // a future of std::async waits for its thread

void EmbeddingSource::Gather(std::span<const int32_t> tokens, float* out) const {
  for (const int32_t token : tokens) {
    KVFOLD_CHECK(token >= 0 && token < tensor_.rows, "token", token, "vocab_size", tensor_.rows);
    checkpoint_.ReadBlock(tensor_, token, token + 1, 0, hidden_, out);
    out += hidden_;
  }
}

void EmbeddingSource::Prefetch(int64_t key, std::vector<int32_t> tokens) {
  Ahead ahead{tokens, {}};
  ahead.rows = std::async(std::launch::async, [this, tokens = std::move(tokens)] {
    std::vector<float> rows(tokens.size() * static_cast<size_t>(hidden_));
    Gather(tokens, rows.data());
    return rows;
  });
  ahead_.insert_or_assign(key, std::move(ahead));
}

void EmbeddingSource::Take(int64_t key, std::span<const int32_t> tokens, float* out) {
  const auto found = ahead_.find(key);
  if (found == ahead_.end()) return Gather(tokens, out);
  Ahead ahead = std::move(found->second);
  ahead_.erase(found);
  if (!std::ranges::equal(ahead.tokens, tokens)) return Gather(tokens, out);
  std::ranges::copy(ahead.rows.get(), out);
}

}  // namespace kvfold
