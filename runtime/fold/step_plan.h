// runtime/fold/step_plan.h: what every rank does next. Rank 0 decides and broadcasts; all ranks
// execute the same plans in the same order and so keep the same state: a replicated deterministic
// state machine.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace kvfold {

struct PlannedSequence {
  int64_t id = 0;            // chosen by rank 0; a new id begins an empty sequence
  int64_t begin = 0;         // position of its first new token: what the sequence already holds
  int64_t n_tokens = 0;      // >= 1
  int64_t n_logit_rows = 0;  // logits are wanted for the last so many of them
};

// A new sequence that goes on where another one stands.
struct PlannedFork {
  int64_t id = 0;      // of the new sequence
  int64_t parent = 0;  // goes on unchanged
  int64_t length = 0;  // tokens that the parent holds
};

enum class LogitUse : int64_t {
  kNone,
  kGather,      // whole rows of logits, to rank 0's sink
  kStatistics,  // largest, sum of exponentials, target's logit
  kArgMax,      // the token of the largest
};

struct StepPlan {
  bool stop = false;  // no more plans follow; all else is empty
  LogitUse logit_use = LogitUse::kNone;
  std::vector<int64_t> releases;   // sequences that end before this step
  std::vector<PlannedFork> forks;  // made after the releases, in this order, before the step
  std::vector<PlannedSequence> sequences;
  std::vector<int32_t> targets;   // kStatistics: by wanted row
  std::vector<float> embeddings;  // [rows, hidden], the sequences' tokens one after the other

  // Empties it for the next step and keeps its memory.
  void Clear();
  int64_t rows() const;
  int64_t wanted_rows() const;
};

// Rank 0's plan to every rank. On rank 0 `plan` is read, elsewhere it is replaced. Throws
// CommError, also where what arrives is no plan.
void BroadcastPlan(Communicator& communicator, StepPlan& plan);

}  // namespace kvfold
