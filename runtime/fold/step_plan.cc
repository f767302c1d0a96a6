#include "runtime/fold/step_plan.h"

#include <span>

#include "comm/error.h"

namespace kvfold {
namespace {

// On the wire: this header, then the vectors' elements in the order of its counts. Ranks run one
// build (they agree on the version first), so that structs travel as they are.
struct Header {
  int64_t stop = 0;
  int64_t logit_use = 0;
  int64_t n_releases = 0;
  int64_t n_forks = 0;
  int64_t n_sequences = 0;
  int64_t n_targets = 0;
  int64_t n_embeddings = 0;
};

// More elements than any plan has: a count beyond it is no count.
constexpr int64_t kMostElements = int64_t{1} << 40;

void Check(const Header& header) {
  for (const int64_t n : {header.n_releases, header.n_forks, header.n_sequences, header.n_targets,
                          header.n_embeddings}) {
    if (n < 0 || n > kMostElements)
      throw CommError(fmt::format("a step plan of rank 0 counts {} elements of a kind", n));
  }
  const int64_t last = static_cast<int64_t>(LogitUse::kArgMax);
  if (header.stop < 0 || header.stop > 1 || header.logit_use < 0 || header.logit_use > last) {
    throw CommError(fmt::format("a step plan of rank 0 has stop {} and logit use {}", header.stop,
                                header.logit_use));
  }
}

template <typename T>
void BroadcastVector(Communicator& communicator, std::vector<T>& elements, int64_t n) {
  elements.resize(static_cast<size_t>(n));
  if (n > 0) communicator.BroadcastBytes(std::as_writable_bytes(std::span(elements)), 0);
}

template <typename T>
int64_t Count(const std::vector<T>& elements) {
  return static_cast<int64_t>(elements.size());
}

}  // namespace

void StepPlan::Clear() {
  stop = false;
  logit_use = LogitUse::kNone;
  releases.clear();
  forks.clear();
  sequences.clear();
  targets.clear();
  embeddings.clear();
}

int64_t StepPlan::rows() const {
  int64_t rows = 0;
  for (const PlannedSequence& sequence : sequences) rows += sequence.n_tokens;
  return rows;
}

int64_t StepPlan::wanted_rows() const {
  int64_t rows = 0;
  for (const PlannedSequence& sequence : sequences) rows += sequence.n_logit_rows;
  return rows;
}

void BroadcastPlan(Communicator& communicator, StepPlan& plan) {
  if (communicator.size() == 1) return;
  Header header{plan.stop ? 1 : 0,     static_cast<int64_t>(plan.logit_use),
                Count(plan.releases),  Count(plan.forks),
                Count(plan.sequences), Count(plan.targets),
                Count(plan.embeddings)};
  communicator.BroadcastBytes(std::as_writable_bytes(std::span(&header, 1)), 0);
  Check(header);
  plan.stop = header.stop != 0;
  plan.logit_use = static_cast<LogitUse>(header.logit_use);
  BroadcastVector(communicator, plan.releases, header.n_releases);
  BroadcastVector(communicator, plan.forks, header.n_forks);
  BroadcastVector(communicator, plan.sequences, header.n_sequences);
  BroadcastVector(communicator, plan.targets, header.n_targets);
  BroadcastVector(communicator, plan.embeddings, header.n_embeddings);
}

}  // namespace kvfold
