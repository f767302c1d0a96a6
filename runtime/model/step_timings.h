// runtime/model/step_timings.h: where a rank's steps spend their time, and how much arithmetic was
// done there.
//
// FLOP are counted as 2 for a multiply and an add: a product of [m, k] by [k, n] is 2 m n k,
// attention 4 head_dim for every pair of a query head's row and a key that it sees (scores and
// weighted values; exponentials are not counted). Padding and masked pairs do not count.
#pragma once

#include <chrono>

namespace kvfold {

struct StepTimings {
  double linear_s = 0.0;
  double attention_s = 0.0;
  double communication_s = 0.0;
  double total_s = 0.0;  // forward passes and logits; the rest is norms, RoPE, activation,
                         // gathering of embeddings
  double linear_flop = 0.0;
  double attention_flop = 0.0;
};

// Adds the seconds of its own life to a sum.
class SectionTimer {
 public:
  explicit SectionTimer(double& seconds) : seconds_(seconds), start_(Clock::now()) {}
  ~SectionTimer() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  SectionTimer(const SectionTimer&) = delete;
  SectionTimer& operator=(const SectionTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point start_;
};

}  // namespace kvfold
