#include "comm/local/local_group.h"

#include <exception>
#include <thread>

#include "comm/local/local_state.h"

namespace kvfold {
namespace {

struct Outcome {
  std::exception_ptr own;         // thrown by the body for a reason of its own
  std::exception_ptr from_abort;  // because another rank aborted the group
};

void RunRank(Communicator& communicator, const std::function<void(Communicator&)>& body,
             Outcome& outcome) {
  try {
    body(communicator);
  } catch (const internal::LocalAbortError&) {
    outcome.from_abort = std::current_exception();
  } catch (const std::exception& error) {
    outcome.own = std::current_exception();
    communicator.Abort(fmt::format("rank {} failed: {}", communicator.rank(), error.what()), 1);
  } catch (...) {
    outcome.own = std::current_exception();
    communicator.Abort(fmt::format("rank {} failed", communicator.rank()), 1);
  }
  communicator.Close();
}

}  // namespace

void RunLocalRanks(int size, const std::function<void(Communicator&)>& body) {
  const std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(size);
  std::vector<Outcome> outcomes(size);
  {
    std::vector<std::jthread> threads;
    threads.reserve(size);
    try {
      for (int rank = 0; rank < size; ++rank) {
        threads.emplace_back([&, rank] { RunRank(*group[rank], body, outcomes[rank]); });
      }
    } catch (const std::exception& error) {
      group[0]->Abort(
          fmt::format("cannot start the thread of rank {}: {}", threads.size(), error.what()), 1);
      throw;  // the threads that did start are joined on the way out
    }
  }
  for (const Outcome& outcome : outcomes) {
    if (outcome.own) std::rethrow_exception(outcome.own);
  }
  for (const Outcome& outcome : outcomes) {
    if (outcome.from_abort) std::rethrow_exception(outcome.from_abort);
  }
}

}  // namespace kvfold
