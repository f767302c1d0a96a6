// Drives several caches of one pool with random operations beside a model that is a plain array a
// sequence. Every element and scale is written and read by the formula of shard/kv_layout.h,
// written down here a second time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "comm/device/cpu_device.h"
#include "comm/error.h"
#include "shard/kv_cache.h"

namespace kvfold {
namespace {

constexpr int64_t kLayers = 3;
constexpr int64_t kWindow = 200;
constexpr int64_t kHeads = 2;
constexpr int64_t kHeadDim = 6;
constexpr int64_t kCapacityBlocks = 16;
constexpr size_t kMaxSequences = 6;
constexpr int kOperations = 1500;

struct Case {
  DType dtype;
  int64_t interleave;
  uint32_t seed;
};

// Some bits for an element: of what was written at a position (`stamp`), and where.
uint32_t Bits(uint64_t stamp, int64_t layer, int64_t head, int64_t index) {
  uint64_t x = stamp * 0x9e3779b97f4a7c15u + static_cast<uint64_t>((layer * 8 + head) * 64 + index);
  x ^= x >> 31;
  x *= 0xbf58476d1ce4e5b9u;
  return static_cast<uint32_t>(x >> 32) & 0x3fffffffu;  // a finite f32
}

struct Sequence {
  std::unique_ptr<KvCache> cache;
  std::deque<PendingChunk> tickets;  // oldest first
  std::vector<uint64_t> stamps;      // by position, committed and pending
  int64_t length = 0;                // committed
  int64_t first_block[2] = {0, 0};   // by group

  Sequence() = default;
  Sequence(Sequence&&) = default;
  Sequence& operator=(Sequence&&) = default;
  ~Sequence() {
    while (!tickets.empty()) tickets.pop_back();
  }
};

class KvCacheModelTest : public testing::TestWithParam<Case> {
 protected:
  KvCacheModelTest()
      : layout_{GroupLayers({0, kWindow, 0}), kHeads, kHeadDim, GetParam().dtype,
                GetParam().interleave},
        pool_(device_, layout_, {kCapacityBlocks, kCapacityBlocks}),
        random_(GetParam().seed) {}

  int64_t Uniform(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  static int64_t Ceil(int64_t positions) { return (positions + 127) / 128; }

  // Calls use(address, index) for every element and scale of one position and head, each with its
  // own index.
  template <typename Use>
  void ForEachElement(const KvView& view, int64_t position, int64_t head, const Use& use) {
    const int64_t element_bytes = DTypeBytes(layout_.dtype);
    // Row-major tiles are keys in one run of all dims and values in runs of one position.
    const bool rows = layout_.interleave == kRowMajorTiles;
    const int64_t p = rows ? kHeadDim : layout_.interleave;
    const int64_t pv = rows ? 1 : layout_.interleave;
    const int64_t t = position % 128;
    std::byte* const base = view.Head(position / 128, head);
    std::byte* const v_tile = base + 128 * kHeadDim * element_bytes;
    for (int64_t d = 0; d < kHeadDim; ++d) {
      const int64_t k_at = (d / p * 128 + t) * p + d % p;
      const int64_t v_at = (t / pv * kHeadDim + d) * pv + t % pv;
      if (layout_.KeyElement(t, d) != k_at || layout_.ValueElement(t, d) != v_at) {
        ADD_FAILURE() << "slot " << t << ", dim " << d;
      }
      use(base + k_at * element_bytes, element_bytes, d);
      use(v_tile + v_at * element_bytes, element_bytes, kHeadDim + d);
    }
    if (layout_.dtype != DType::kI8) return;
    std::byte* const scales = base + 2 * 128 * kHeadDim;
    use(scales + 4 * t, 4, 2 * kHeadDim);
    use(scales + 4 * (128 + t), 4, 2 * kHeadDim + 1);
  }

  void Write(Sequence& s, const PendingChunk& chunk) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const KvView view = s.cache->View(chunk, layer);
      for (int64_t position = chunk.begin(); position < chunk.end(); ++position) {
        for (int64_t head = 0; head < kHeads; ++head) {
          ForEachElement(view, position, head, [&](std::byte* at, int64_t bytes, int64_t index) {
            const uint32_t bits = Bits(s.stamps[static_cast<size_t>(position)], layer, head, index);
            std::memcpy(at, &bits, static_cast<size_t>(bytes));
          });
        }
      }
    }
  }

  // Calls use(view of layer) as the youngest chunk of `s` sees it: a pending one, or one without
  // tokens.
  template <typename Use>
  void ForEachLayer(Sequence& s, const Use& use) {
    PendingChunk nothing;
    if (s.tickets.empty()) nothing = s.cache->Begin(0);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      use(s.cache->View(s.tickets.empty() ? nothing : s.tickets.back(), layer), layer);
    }
  }

  void ExpectContent(Sequence& s) {
    int64_t wrong = 0;
    ForEachLayer(s, [&](const KvView& view, int64_t layer) {
      ASSERT_EQ(view.end, static_cast<int64_t>(s.stamps.size()));
      ASSERT_EQ(view.first_block, s.first_block[layer == 1 ? 1 : 0]);
      ASSERT_EQ(view.window, layer == 1 ? kWindow : 0);
      ASSERT_EQ(static_cast<int64_t>(view.blocks.size()), Ceil(view.end) - view.first_block);
      for (int64_t position = view.oldest(); position < view.end; ++position) {
        for (int64_t head = 0; head < kHeads; ++head) {
          ForEachElement(view, position, head,
                         [&](const std::byte* at, int64_t bytes, int64_t index) {
                           const uint32_t bits =
                               Bits(s.stamps[static_cast<size_t>(position)], layer, head, index);
                           if (std::memcmp(at, &bits, static_cast<size_t>(bytes)) != 0) ++wrong;
                         });
        }
      }
    });
    ASSERT_EQ(wrong, 0);
  }

  // How many sequences hold each block of `group`.
  std::map<std::byte*, int> Holders(int group) {
    std::map<std::byte*, int> holders;
    for (Sequence& s : sequences_) {
      ForEachLayer(s, [&](const KvView& view, int64_t layer) {
        if (layer != group) return;  // layer 0 is in group 0, layer 1 in group 1
        for (std::byte* block : view.blocks) ++holders[block];
      });
    }
    return holders;
  }

  void ExpectBlocksConserved() {
    for (const int group : {0, 1}) {
      ASSERT_EQ(static_cast<int64_t>(Holders(group).size()) + pool_.free_blocks(group),
                kCapacityBlocks);
    }
    for (const Sequence& s : sequences_) {
      const auto end = static_cast<int64_t>(s.stamps.size());
      ASSERT_EQ(s.cache->length(), s.length);
      ASSERT_EQ(s.cache->pending_tokens(), end - s.length);
      for (const int group : {0, 1}) {
        ASSERT_EQ(s.cache->blocks_held(group), Ceil(end) - s.first_block[group]);
      }
    }
  }

  // Runs an operation that the model says must fit or must not, and counts it.
  template <typename Operation>
  bool Fits(bool expected, const Operation& operation) {
    try {
      operation();
      EXPECT_TRUE(expected) << "fitted, and the model says that it cannot";
      return true;
    } catch (const CapacityError& e) {
      EXPECT_FALSE(expected) << e.what();
      ++refused_;
      return false;
    }
  }

  void Begin(Sequence& s) {
    static constexpr int64_t kEdges[] = {0, 1, 127, 128, 129, 255, 256, 257};
    const int64_t n_tokens = Uniform(0, 1) == 0 ? kEdges[Uniform(0, 7)] : Uniform(1, 200);
    const auto end = static_cast<int64_t>(s.stamps.size());
    const int64_t blocks = Ceil(end + n_tokens) - Ceil(end);
    const bool fits = blocks <= pool_.free_blocks(0) && blocks <= pool_.free_blocks(1);
    Fits(fits, [&] {
      s.tickets.push_back(s.cache->Begin(n_tokens));
      ASSERT_EQ(s.tickets.back().begin(), end);
      for (int64_t i = 0; i < n_tokens; ++i) s.stamps.push_back(random_());
      Write(s, s.tickets.back());
    });
  }

  void Commit(Sequence& s) {
    s.length = s.tickets.front().end();
    s.cache->Commit(std::move(s.tickets.front()));
    s.tickets.pop_front();
  }

  void DropTicket(Sequence& s) {
    s.stamps.resize(static_cast<size_t>(s.tickets.back().begin()));
    s.tickets.pop_back();
  }

  void Fork(const Sequence& s) {
    const bool fits = s.length % 128 == 0 || (pool_.free_blocks(0) > 0 && pool_.free_blocks(1) > 0);
    Sequence fork;
    if (!Fits(fits, [&] { fork.cache = s.cache->Fork(); })) return;
    fork.stamps = s.stamps;
    fork.length = s.length;
    std::copy(std::begin(s.first_block), std::end(s.first_block), fork.first_block);
    sequences_.push_back(std::move(fork));
    ++forks_;
  }

  void Truncate(Sequence& s) {
    int64_t n_tokens = Uniform(0, 9) == 0 ? 0 : Uniform(0, s.length);
    if (Uniform(0, 3) == 0) n_tokens -= n_tokens % 128;
    if (n_tokens > 0 && (s.first_block[0] * 128 > n_tokens ||
                         s.first_block[1] * 128 > std::max<int64_t>(0, n_tokens - kWindow + 1))) {
      ASSERT_THROW(s.cache->Truncate(n_tokens), std::logic_error);
      return;
    }
    bool fits = true;
    for (const int group : {0, 1}) {
      if (n_tokens % 128 == 0) continue;
      auto holders = Holders(group);
      std::vector<std::byte*> blocks;
      ForEachLayer(s, [&](const KvView& view, int64_t layer) {
        if (layer == group) blocks.assign(view.blocks.begin(), view.blocks.end());
      });
      const auto tail = static_cast<size_t>(n_tokens / 128 - s.first_block[group]);
      int64_t available = pool_.free_blocks(group);
      for (size_t i = tail + 1; i < blocks.size(); ++i) available += holders[blocks[i]] == 1;
      if (holders[blocks[tail]] > 1) {
        ++shared_tails_;
        fits = fits && available > 0;
      }
    }
    if (!Fits(fits, [&] { s.cache->Truncate(n_tokens); })) return;
    s.stamps.resize(static_cast<size_t>(n_tokens));
    s.length = n_tokens;
    if (n_tokens == 0) s.first_block[0] = s.first_block[1] = 0;
  }

  void Drop(Sequence& s) {
    if (Uniform(0, 2) > 0) {
      s.cache->DropOutOfSight();
      s.first_block[1] =
          std::max(s.first_block[1], std::max<int64_t>(0, s.length - kWindow + 1) / 128);
      return;
    }
    const int group = Uniform(0, 4) == 0 ? 0 : 1;
    const int64_t position = Uniform(0, s.length);
    s.cache->DropBefore(group, position);
    s.first_block[group] = std::max(s.first_block[group], position / 128);
  }

  void Operate() {
    if (sequences_.empty() || (sequences_.size() < kMaxSequences && Uniform(0, 19) == 0)) {
      sequences_.emplace_back().cache = std::make_unique<KvCache>(pool_);
    }
    const auto index = static_cast<size_t>(Uniform(0, static_cast<int64_t>(sequences_.size()) - 1));
    Sequence& s = sequences_[index];
    const int64_t choice = Uniform(0, 99);
    if (!s.tickets.empty()) {
      if (choice < 45) return Commit(s);
      if (choice < 65) return DropTicket(s);
      if (s.tickets.size() < 3) Begin(s);
      return;
    }
    if (choice < 40) return Begin(s);
    if (choice < 65 && sequences_.size() < kMaxSequences) return Fork(s);
    if (choice < 85) return Truncate(s);
    if (choice < 92) return Drop(s);
    sequences_.erase(sequences_.begin() + static_cast<int64_t>(index));
  }

  CpuDevice device_{1};
  KvLayout layout_;
  KvPool pool_;
  std::mt19937_64 random_;
  std::deque<Sequence> sequences_;
  int64_t refused_ = 0, forks_ = 0, shared_tails_ = 0;
};

TEST_P(KvCacheModelTest, EqualsPlainArrays) {
  for (int operation = 0; operation < kOperations; ++operation) {
    SCOPED_TRACE(testing::Message() << "seed " << GetParam().seed << ", operation " << operation);
    Operate();
    ASSERT_NO_FATAL_FAILURE(ExpectBlocksConserved());
    if (sequences_.empty()) continue;
    // One at a time is fast; all of them now and then.
    ASSERT_NO_FATAL_FAILURE(
        ExpectContent(sequences_[static_cast<size_t>(operation) % sequences_.size()]));
    for (size_t i = 0; operation % 25 == 0 && i < sequences_.size(); ++i) {
      ASSERT_NO_FATAL_FAILURE(ExpectContent(sequences_[i]));
    }
    ASSERT_FALSE(HasFailure());
  }
  // The walk came by what is hard.
  EXPECT_GT(refused_, 10);
  EXPECT_GT(forks_, 10);
  EXPECT_GT(shared_tails_, 10);
  sequences_.clear();
  EXPECT_EQ(pool_.free_blocks(0), kCapacityBlocks);
  EXPECT_EQ(pool_.free_blocks(1), kCapacityBlocks);
}

INSTANTIATE_TEST_SUITE_P(Layouts, KvCacheModelTest,
                         testing::Values(Case{DType::kF32, 1, 1}, Case{DType::kF32, 1, 2},
                                         Case{DType::kBF16, 2, 3}, Case{DType::kBF16, 2, 4},
                                         Case{DType::kI8, 1, 5}, Case{DType::kI8, 2, 6},
                                         Case{DType::kBF16, kRowMajorTiles, 7},
                                         Case{DType::kI8, kRowMajorTiles, 8}),
                         [](const auto& param_info) {
                           return std::string(DTypeName(param_info.param.dtype)) + "_p" +
                                  std::to_string(param_info.param.interleave) + "_seed" +
                                  std::to_string(param_info.param.seed);
                         });

}  // namespace
}  // namespace kvfold
