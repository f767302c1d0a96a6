#include "comm/files/read_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "comm/error.h"
#include "comm/files/file_identity.h"

namespace kvfold {
namespace {

constexpr int kWaitMs = 100;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

// A pipe that was handed to this process is taken as it is: one that is opened anew does not tell
// that its writers went before. A FIFO is opened at once, whether or not it has a writer.
int Open(const std::string& path) {
  const std::optional<int> own = path == "-" ? STDIN_FILENO : OwnDescriptor(path);
  const std::optional<FileIdentity> there = own ? IdentityOf(*own) : std::nullopt;
  if (there && (path == "-" || !S_ISREG(there->mode))) return fcntl(*own, F_DUPFD_CLOEXEC, 3);
  return open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

}  // namespace

std::string ReadFile(const std::string& path, const std::function<void()>& on_wait) {
  const std::string name = path == "-" ? "standard input" : path;
  const auto fail = [&] {
    return InputError(fmt::format("cannot read {}: {}", name, std::strerror(errno)));
  };
  const Descriptor file(Open(path));
  if (file.number() < 0) throw fail();
  std::string bytes;
  std::array<char, size_t{1} << 16> block;
  for (;;) {
    struct pollfd readable {
      file.number(), POLLIN, 0
    };
    if (poll(&readable, 1, kWaitMs) <= 0) {
      if (on_wait) on_wait();
      continue;
    }
    const ssize_t n = read(file.number(), block.data(), block.size());
    if (n > 0) {
      bytes.append(block.data(), static_cast<size_t>(n));
    } else if (n == 0) {
      return bytes;
    } else if (errno != EINTR && errno != EAGAIN) {
      throw fail();
    }
  }
}

}  // namespace kvfold
