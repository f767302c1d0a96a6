// runtime/model/step_timings.h: where a rank's steps spend their time, and how much arithmetic was
// done there.
//
// FLOP are counted as 2 for a multiply and an add: a product of [m, k] by [k, n] is 2 m n k,
// attention 4 head_dim for every pair of a query head's row and a key that it sees (scores and
// weighted values; exponentials are not counted). Padding and masked pairs do not count.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/device/device.h"

namespace kvfold {

// The rest of a step is norms, RoPE, activation, gathering of embeddings.
struct StepTimings {
  double linear_s = 0.0;
  double attention_s = 0.0;
  double communication_s = 0.0;
  double linear_flop = 0.0;
  double attention_flop = 0.0;
};

// Measures the sections of steps in the order of the device's work: on a GPU the seconds that it
// worked on them, not those in which they were issued.
//
// It waits for nothing while sections are timed, but for one that is `most_sections` back: so far
// ahead no device lets itself be driven.
class SectionClock {
 public:
  explicit SectionClock(Stream& stream, int64_t most_sections = 4096);

  // Sections follow each other; one that was begun and not ended (its work threw) is forgotten.
  void Begin();
  void End(double StepTimings::*sum);
  // Adds the seconds of all sections that ended since the last call, once the device has passed
  // them.
  void AddTo(StepTimings& timings);

 private:
  void ReadOldest();

  std::unique_ptr<StreamClock> clock_;       // section i: moments 2 (i % size) and the next
  std::vector<double StepTimings::*> sums_;  // of section i at i % size
  int64_t n_ended_ = 0;
  int64_t n_read_ = 0;
  StepTimings read_;
};

}  // namespace kvfold
