// launcher/ranks/stop_signal.h: SIGTERM, SIGINT, SIGHUP and SIGUSR1, by which people, schedulers
// and terminals that close ask a job to end. The handler only remembers the signal; rank 0 looks
// between steps, lets the step under way end and stops the job with exit code 4. The other ranks,
// which mpirun signals too, follow rank 0.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/error.h"

namespace kvfold {

class StoppedError : public Error {
 public:
  explicit StoppedError(const std::string& what) : Error(ErrorCode::kStopped, what) {}
};

// From here on the four signals are remembered; a second SIGINT ends the process at once. One that
// the process was started to ignore, by nohup or as a background job of a script, stays ignored:
// that is what whoever started it asked for. One that it was started to block is let through: a
// mask is left over from threads of the parent, and a job that nothing can stop is of no use to
// anybody.
void CatchStopSignals();

// "SIGTERM", the first that came since; nullptr where none has.
const char* StopSignalName();

// Throws StoppedError where a signal has come: "stopped by SIGTERM: REST".
void ThrowIfStopped(const std::string& rest);

// Between two phases, called by all ranks: throws AgreedError of code kStopped on all of them where
// rank 0 was told to stop.
void StopTogether(Communicator& communicator, const std::string& rest);

}  // namespace kvfold
