// launcher/stop_signal.h: SIGTERM, SIGINT and SIGUSR1, by which people and schedulers ask a job to
// end. The handler only remembers the signal; rank 0 looks between steps, lets the step under way
// end and stops the job with exit code 4. The other ranks, which mpirun signals too, follow rank 0.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/error.h"

namespace kvfold {

class StoppedError : public Error {
 public:
  explicit StoppedError(const std::string& what) : Error(ErrorCode::kStopped, what) {}
};

// From here on the three signals are remembered; a second SIGINT ends the process at once.
void CatchStopSignals();

// "SIGTERM", the first that came since; nullptr where none has.
const char* StopSignalName();

// Throws StoppedError where a signal has come: "stopped by SIGTERM: REST".
void ThrowIfStopped(const std::string& rest);

// Between two phases, called by all ranks: throws AgreedError of code kStopped on all of them where
// rank 0 was told to stop.
void StopTogether(Communicator& communicator, const std::string& rest);

}  // namespace kvfold
