#include "launcher/inheritance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace kvfold {
namespace {

void OpenIfClosed(int descriptor) {
  if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) return;
  // Input that is closed cannot be read, output that is closed cannot be written; only the log may
  // go nowhere. The lowest number that is free is this one, since those below are open.
  const int flags = descriptor == STDIN_FILENO    ? O_WRONLY
                    : descriptor == STDOUT_FILENO ? O_RDONLY
                                                  : O_RDWR;
  if (open("/dev/null", flags) < 0) open("/", O_RDONLY | O_DIRECTORY);  // where there is no /dev
}

// The mode belongs to all who have the descriptor; only this process is to have another.
void OpenAnewIfNonBlocking(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) == 0) return;
  const int anew = open(fmt::format("/proc/self/fd/{}", descriptor).c_str(),
                        (flags & (O_ACCMODE | O_APPEND)) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (anew < 0) return;  // a socket, or a pipe whose reader has gone
  fcntl(anew, F_SETFL, flags & ~O_NONBLOCK);
  dup2(anew, descriptor);
  close(anew);
}

}  // namespace

void TakeInheritance() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    OpenIfClosed(descriptor);
    OpenAnewIfNonBlocking(descriptor);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGBUS);
  sigprocmask(SIG_UNBLOCK, &faults, nullptr);
}

}  // namespace kvfold
