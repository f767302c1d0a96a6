// launcher/ranks/agreement.h: ranks that do something each for itself and then hear whether all of
// them could. One rank's problem becomes one sentence and one exit code on every rank, and nobody
// waits for a rank that has gone.
#pragma once

#include <functional>
#include <string_view>

#include "comm/communicator.h"
#include "comm/error.h"

namespace kvfold {

// All ranks throw it together, in step: the group may be closed in peace.
class AgreedError : public Error {
 public:
  using Error::Error;
};

// Runs `work` on every rank; returns when it succeeded on all. Otherwise every rank throws
// AgreedError with the code and the sentence of the lowest rank that failed, the rank named where
// others fared differently.
void RunTogether(Communicator& communicator, const std::function<void()>& work);

// As RunTogether where only rank 0 can fail, the others serving it or waiting: the sentence names
// no rank.
void RunForFirst(Communicator& communicator, const std::function<void()>& work);

// Throws AgreedError on all ranks where they do not bring the same text: "rank 1 has NAME x, rank 0
// has y". At most 64 KiB count.
void AgreeOn(Communicator& communicator, std::string_view name, std::string_view text);

}  // namespace kvfold
