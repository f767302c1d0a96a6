#include "launcher/ranks/stop_signal.h"

#include <fmt/format.h>

#include <csignal>

#include "launcher/ranks/agreement.h"

namespace kvfold {
namespace {

volatile std::sig_atomic_t stop_signal = 0;

// Async-signal-safe: it writes a flag, and raises a signal that is then no longer caught.
void Remember(int signal) {
  if (signal == SIGINT && stop_signal == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    raise(SIGINT);
    return;
  }
  // An impatient SIGINT after another signal begins to count too.
  if (stop_signal == 0 || signal == SIGINT) stop_signal = signal;
}

}  // namespace

void CatchStopSignals() {
  struct sigaction action {};
  action.sa_handler = Remember;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    struct sigaction inherited {};
    if (sigaction(signal, nullptr, &inherited) == 0 && inherited.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
    sigaddset(&caught, signal);
  }
  pthread_sigmask(SIG_UNBLOCK, &caught, nullptr);
}

const char* StopSignalName() {
  switch (stop_signal) {
    case 0:
      return nullptr;
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "SIGUSR1";
  }
}

void ThrowIfStopped(const std::string& rest) {
  if (const char* const name = StopSignalName())
    throw StoppedError(fmt::format("stopped by {}: {}", name, rest));
}

void StopTogether(Communicator& communicator, const std::string& rest) {
  RunForFirst(communicator, [&] {
    if (communicator.rank() == 0) ThrowIfStopped(rest);
  });
}

}  // namespace kvfold
