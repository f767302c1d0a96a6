#include "runtime/model/step_timings.h"

#include "comm/error.h"

namespace kvfold {

SectionClock::SectionClock(Stream& stream, int64_t most_sections)
    : clock_(stream.MakeClock(2 * most_sections)), sums_(static_cast<size_t>(most_sections)) {
  KVFOLD_CHECK(most_sections >= 1, "most_sections", most_sections);
}

void SectionClock::Begin() {
  const auto most = static_cast<int64_t>(sums_.size());
  if (n_ended_ - n_read_ == most) ReadOldest();
  clock_->Mark(2 * (n_ended_ % most));
}

void SectionClock::End(double StepTimings::*sum) {
  const int64_t place = n_ended_ % static_cast<int64_t>(sums_.size());
  clock_->Mark(2 * place + 1);
  sums_[static_cast<size_t>(place)] = sum;
  ++n_ended_;
}

void SectionClock::AddTo(StepTimings& timings) {
  while (n_read_ < n_ended_) ReadOldest();
  timings.linear_s += read_.linear_s;
  timings.attention_s += read_.attention_s;
  timings.communication_s += read_.communication_s;
  read_ = {};
}

void SectionClock::ReadOldest() {
  const int64_t place = n_read_ % static_cast<int64_t>(sums_.size());
  read_.*sums_[static_cast<size_t>(place)] += clock_->Seconds(2 * place, 2 * place + 1);
  ++n_read_;
}

}  // namespace kvfold
