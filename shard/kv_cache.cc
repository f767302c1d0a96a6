#include "shard/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "comm/error.h"
#include "shard/detail/kv_pool_state.h"

namespace kvfold {
namespace {

using internal::BlockPool;
using internal::BlocksCovering;

// The blocks of one layer group, oldest first: blocks[i] holds positions [(first_block + i) *
// kBlockTokens, ...). Only the open tail (a block that the sequence's positions do not fill) is
// ever written, and it is never shared.
struct GroupBlocks {
  std::vector<std::byte*> blocks;
  int64_t first_block = 0;

  int64_t end_block() const { return first_block + static_cast<int64_t>(blocks.size()); }
};

std::string DescribeGroup(const LayerGroup& group) {
  return group.window == 0 ? "layers that see all positions"
                           : fmt::format("layers with a window of {} positions", group.window);
}

}  // namespace

struct KvCache::State {
  struct Pending {
    int64_t id;
    int64_t end;
  };

  KvPool& owner;
  KvPool::State& pool;  // of owner
  std::vector<GroupBlocks> groups;
  std::vector<Pending> pending;  // in the order of Begin
  int64_t length = 0;
  int64_t next_id = 0;

  int64_t pending_end() const { return pending.empty() ? length : pending.back().end; }
  int64_t free_blocks(size_t group) const { return pool.pools[group].free_blocks(); }
  void CheckNothingPending(const char* call) const {
    KVFOLD_CHECK(pending.empty(), "call", call, "pending chunks", pending.size());
  }
  auto Find(int64_t id) const {
    return std::find_if(pending.begin(), pending.end(),
                        [&](const Pending& chunk) { return chunk.id == id; });
  }

  void CheckMayTruncate(int64_t n_tokens) const {
    KVFOLD_CHECK(0 <= n_tokens && n_tokens <= length, "n_tokens", n_tokens, "length", length);
    for (size_t group = 0; n_tokens > 0 && group < groups.size(); ++group) {
      const int64_t window = pool.layout.groups[group].window;
      // What the next token sees must still be there; of a group that sees all, what was not
      // dropped on purpose.
      const int64_t oldest_needed =
          window == 0 ? n_tokens : std::max<int64_t>(0, n_tokens - window + 1);
      const int64_t oldest_held = groups[group].first_block * kBlockTokens;
      KVFOLD_CHECK(oldest_held <= oldest_needed, "n_tokens", n_tokens, "window", window,
                   "oldest held", oldest_held);
    }
  }

  [[noreturn]] void ThrowFull(const std::string& purpose, size_t group,
                              int64_t asked_blocks) const {
    throw CapacityError(
        fmt::format("the KV cache has no room {}: {} ask for {} blocks of {} positions, and {} of "
                    "{} are free; nothing was changed",
                    purpose, DescribeGroup(pool.layout.groups[group]), asked_blocks, kBlockTokens,
                    free_blocks(group), pool.pools[group].capacity_blocks()));
  }

  // Gives back all blocks from block `end_block` on, the youngest first: taking them again gives
  // the same ones.
  void ReleaseFrom(size_t group, int64_t end_block) noexcept {
    GroupBlocks& held = groups[group];
    while (!held.blocks.empty() && held.end_block() > end_block) {
      pool.pools[group].Release(held.blocks.back());
      held.blocks.pop_back();
    }
  }
};

PendingChunk::PendingChunk(PendingChunk&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)),
      id_(std::exchange(other.id_, 0)),
      begin_(std::exchange(other.begin_, 0)),
      end_(std::exchange(other.end_, 0)) {}

PendingChunk& PendingChunk::operator=(PendingChunk&& other) noexcept {
  if (this == &other) return *this;
  if (cache_ != nullptr) cache_->Undo(*this);
  cache_ = std::exchange(other.cache_, nullptr);
  id_ = std::exchange(other.id_, 0);
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  return *this;
}

PendingChunk::~PendingChunk() {
  if (cache_ != nullptr) cache_->Undo(*this);
}

KvCache::KvCache(KvPool& pool) : state_(new State{pool, *pool.state_, {}, {}}) {
  state_->groups.resize(state_->pool.pools.size());
  ++state_->pool.n_caches;
}

KvCache::~KvCache() {
  if (!state_->pending.empty()) {
    internal::AbortWith(
        fmt::format("a KV cache of {} tokens goes while {} of its chunks are pending",
                    state_->length, state_->pending.size()));
  }
  for (size_t group = 0; group < state_->groups.size(); ++group) state_->ReleaseFrom(group, 0);
  --state_->pool.n_caches;
}

PendingChunk KvCache::Begin(int64_t n_tokens) {
  State& s = *state_;
  KVFOLD_CHECK(n_tokens >= 0, "n_tokens", n_tokens);
  const int64_t begin = s.pending_end();
  // No pool holds as many positions as the largest end, so a sum that would overflow is refused
  // below with the rest.
  const int64_t end = begin + std::min(n_tokens, std::numeric_limits<int64_t>::max() - begin);
  for (size_t group = 0; group < s.groups.size(); ++group) {
    const int64_t asked_blocks = BlocksCovering(end) - s.groups[group].end_block();
    if (asked_blocks > s.free_blocks(group)) {
      s.ThrowFull(fmt::format("for {} tokens after position {}", n_tokens, begin), group,
                  asked_blocks);
    }
  }
  // All that may throw comes first, so that a failure changes nothing.
  for (GroupBlocks& held : s.groups) {
    const auto n_blocks = static_cast<size_t>(BlocksCovering(end) - held.first_block);
    if (n_blocks > held.blocks.capacity()) {
      held.blocks.reserve(std::max(n_blocks, 2 * held.blocks.capacity()));
    }
  }
  s.pending.push_back({s.next_id, end});
  for (size_t group = 0; group < s.groups.size(); ++group) {
    GroupBlocks& held = s.groups[group];
    while (held.end_block() < BlocksCovering(end)) {
      held.blocks.push_back(s.pool.pools[group].Take());
    }
  }
  PendingChunk chunk;
  chunk.cache_ = this;
  chunk.id_ = s.next_id++;
  chunk.begin_ = begin;
  chunk.end_ = end;
  return chunk;
}

KvView KvCache::View(const PendingChunk& chunk, int64_t layer) const {
  const State& s = *state_;
  KVFOLD_CHECK(chunk.cache_ == this && s.Find(chunk.id_) != s.pending.end(), "begin", chunk.begin_,
               "end", chunk.end_);
  KVFOLD_CHECK(0 <= layer && layer < static_cast<int64_t>(s.pool.layers.size()), "layer", layer,
               "layers", s.pool.layers.size());
  const KvPool::State::LayerPlace& place = s.pool.layers[static_cast<size_t>(layer)];
  KVFOLD_CHECK(place.group >= 0, "layer", layer);
  const auto group = static_cast<size_t>(place.group);
  const GroupBlocks& held = s.groups[group];
  KvView view;
  view.blocks = std::span(held.blocks)
                    .first(static_cast<size_t>(BlocksCovering(chunk.end_) - held.first_block));
  view.first_block = held.first_block;
  view.layer_offset_bytes = place.offset_bytes;
  view.begin = chunk.begin_;
  view.end = chunk.end_;
  view.window = s.pool.layout.groups[group].window;
  view.layout = &s.pool.layout;
  return view;
}

void KvCache::Commit(PendingChunk chunk) {
  State& s = *state_;
  KVFOLD_CHECK(chunk.cache_ == this && !s.pending.empty() && s.pending.front().id == chunk.id_,
               "begin", chunk.begin_, "end", chunk.end_, "length", s.length);
  s.pending.erase(s.pending.begin());
  s.length = chunk.end_;
  chunk.cache_ = nullptr;
}

void KvCache::Undo(const PendingChunk& chunk) noexcept {
  State& s = *state_;
  const auto undone = s.Find(chunk.id_);
  if (undone == s.pending.end()) return;  // undone with one that was pending before it
  s.pending.erase(undone, s.pending.end());
  for (size_t group = 0; group < s.groups.size(); ++group) {
    s.ReleaseFrom(group, BlocksCovering(s.pending_end()));
  }
}

std::unique_ptr<KvCache> KvCache::Fork() const {
  const State& s = *state_;
  s.CheckNothingPending("Fork");
  const bool has_tail = s.length % kBlockTokens != 0;
  for (size_t group = 0; has_tail && group < s.groups.size(); ++group) {
    if (s.free_blocks(group) == 0) {
      s.ThrowFull(fmt::format("to fork a sequence of {} tokens", s.length), group, 1);
    }
  }
  auto fork = std::make_unique<KvCache>(s.owner);
  State& f = *fork->state_;
  for (size_t group = 0; group < s.groups.size(); ++group) {
    f.groups[group].blocks.reserve(s.groups[group].blocks.size());
  }
  f.length = s.length;
  for (size_t group = 0; group < s.groups.size(); ++group) {
    BlockPool& pool = s.pool.pools[group];
    const GroupBlocks& held = s.groups[group];
    f.groups[group].first_block = held.first_block;
    for (std::byte* block : held.blocks) {
      if (has_tail && block == held.blocks.back()) {
        std::byte* const copy = pool.Take();
        s.pool.device->CopyWithin(block, copy, pool.block_bytes());
        f.groups[group].blocks.push_back(copy);
      } else {
        pool.Share(block);
        f.groups[group].blocks.push_back(block);
      }
    }
  }
  return fork;
}

void KvCache::Truncate(int64_t n_tokens) {
  State& s = *state_;
  s.CheckNothingPending("Truncate");
  s.CheckMayTruncate(n_tokens);
  const int64_t end_block = BlocksCovering(n_tokens);
  // The new tail of a group if it is a part of a shared block, and so must be copied; else nullptr.
  const auto shared_tail = [&](size_t group) -> std::byte** {
    if (n_tokens % kBlockTokens == 0) return nullptr;
    GroupBlocks& held = s.groups[group];
    std::byte*& tail = held.blocks[static_cast<size_t>(end_block - 1 - held.first_block)];
    return s.pool.pools[group].references(tail) > 1 ? &tail : nullptr;
  };
  for (size_t group = 0; group < s.groups.size(); ++group) {
    std::byte* const* const tail = shared_tail(group);
    if (tail == nullptr || s.free_blocks(group) > 0) continue;
    const std::vector<std::byte*>& blocks = s.groups[group].blocks;
    const bool frees_one = std::any_of(
        tail + 1, blocks.data() + blocks.size(),
        [&](const std::byte* block) { return s.pool.pools[group].references(block) == 1; });
    if (!frees_one) {
      s.ThrowFull(fmt::format("to shorten a shared sequence to {} tokens", n_tokens), group, 1);
    }
  }
  for (size_t group = 0; group < s.groups.size(); ++group) {
    BlockPool& pool = s.pool.pools[group];
    s.ReleaseFrom(group, end_block);
    if (n_tokens == 0) s.groups[group].first_block = 0;  // an empty sequence lacks nothing
    if (std::byte** const tail = shared_tail(group)) {
      std::byte* const copy = pool.Take();
      s.pool.device->CopyWithin(*tail, copy, pool.block_bytes());
      pool.Release(std::exchange(*tail, copy));
    }
  }
  s.length = n_tokens;
}

void KvCache::DropBefore(int group, int64_t position) {
  State& s = *state_;
  s.CheckNothingPending("DropBefore");
  KVFOLD_CHECK(0 <= position && position <= s.length, "position", position, "length", s.length);
  GroupBlocks& held = s.groups.at(static_cast<size_t>(group));
  const int64_t dropped = position / kBlockTokens - held.first_block;
  if (dropped <= 0) return;
  BlockPool& pool = s.pool.pools[static_cast<size_t>(group)];
  for (int64_t i = 0; i < dropped; ++i) pool.Release(held.blocks[static_cast<size_t>(i)]);
  held.blocks.erase(held.blocks.begin(), held.blocks.begin() + dropped);
  held.first_block += dropped;
}

void KvCache::DropOutOfSight() {
  const std::vector<LayerGroup>& groups = state_->pool.layout.groups;
  for (size_t group = 0; group < groups.size(); ++group) {
    if (groups[group].window == 0) continue;
    // The next query stands at length() and sees [length() - window + 1, length()].
    const int64_t oldest_seen = state_->length - groups[group].window + 1;
    if (oldest_seen > 0) DropBefore(static_cast<int>(group), oldest_seen);
  }
}

int64_t KvCache::length() const { return state_->length; }

int64_t KvCache::pending_tokens() const { return state_->pending_end() - state_->length; }

int64_t KvCache::blocks_held(int group) const {
  return static_cast<int64_t>(state_->groups.at(static_cast<size_t>(group)).blocks.size());
}

}  // namespace kvfold
