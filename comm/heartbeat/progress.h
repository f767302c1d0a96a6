// comm/heartbeat/progress.h: how far a rank is, told by its own thread as it goes and read by its
// heartbeat. A mark is a few relaxed stores: no lock, no fence, no call.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace kvfold {

enum class Phase : uint8_t {
  kStarting,   // reads options, inputs and a model's head: as long as it takes
  kLoading,    // reads and packs weights, advances by the tensor
  kComputing,  // within a step, or between two of them
  kWaiting,    // within a collective: for the other ranks
  kIdle,       // for work to come: as long as it takes
  kEnding,     // after the last step
};
inline constexpr Phase kLastPhase = Phase::kEnding;

struct ProgressView {
  Phase phase = Phase::kStarting;
  int64_t step = 0;    // steps begun; all ranks of a group count alike
  int64_t layer = 0;   // of the step, from 0; while loading: tensors loaded
  uint64_t count = 0;  // rises with every mark
  bool operator==(const ProgressView&) const = default;
};

// One writer, any number of readers. A reader may see some marks of one moment and some of the
// next, which is good enough to tell whether, and about where, a rank moves.
class RankProgress {
 public:
  using Observer = std::function<void(const ProgressView&)>;

  void Enter(Phase phase) {
    phase_.store(phase, std::memory_order_relaxed);
    Tick();
  }
  void BeginStep() {
    step_.store(step_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    layer_.store(0, std::memory_order_relaxed);
    Enter(Phase::kComputing);
  }
  void BeginLayer(int64_t layer) {
    layer_.store(layer, std::memory_order_relaxed);
    Tick();
    if (observer_) [[unlikely]]
      observer_(Read());
  }
  void TensorLoaded() {
    layer_.store(layer_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    Enter(Phase::kLoading);
    if (observer_) [[unlikely]]
      observer_(Read());
  }
  void Tick() {
    count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  ProgressView Read() const {
    return {phase_.load(std::memory_order_relaxed), step_.load(std::memory_order_relaxed),
            layer_.load(std::memory_order_relaxed), count_.load(std::memory_order_relaxed)};
  }

  // Called by the writer at every layer begun and every tensor loaded. Set by the writer's thread.
  void SetObserver(Observer observer) { observer_ = std::move(observer); }

 private:
  std::atomic<Phase> phase_ = Phase::kStarting;
  std::atomic<int64_t> step_ = 0;
  std::atomic<int64_t> layer_ = 0;
  std::atomic<uint64_t> count_ = 0;
  Observer observer_;
};

// Marks a collective from its beginning to its end.
class WaitMark {
 public:
  explicit WaitMark(RankProgress& progress) : progress_(progress), phase_(progress.Read().phase) {
    progress_.Enter(Phase::kWaiting);
  }
  ~WaitMark() { progress_.Enter(phase_); }
  WaitMark(const WaitMark&) = delete;
  WaitMark& operator=(const WaitMark&) = delete;

 private:
  RankProgress& progress_;
  Phase phase_;  // before
};

}  // namespace kvfold
