#include "comm/heartbeat/heartbeat.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/gather_values.h"
#include "comm/heartbeat/addresses.h"
#include "comm/heartbeat/beat_sockets.h"

namespace kvfold {
namespace {

using internal::BeatSockets;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Rank 0 and its deputies: as many may go at once, and there is still one that says it.
constexpr int kHubs = 4;
constexpr milliseconds kLook{50};           // between two looks at progress and verdict
constexpr milliseconds kMovingBeat{100};    // least time between two beats of a rank that moves
constexpr milliseconds kSpread{100};        // a verdict's time to reach all, before its judge ends
constexpr milliseconds kVerdictWait{5000};  // of a rank that has failed
// A connection may end before all that was sent over it has come: a reset overtakes data. So the
// end waits for an answer; from a rank that is stopped or lost none will come.
constexpr milliseconds kFarewellWait{1000};

using DeviceText = std::array<char, 64>;

// What the ranks tell each other of themselves before the first beat. Fixed sizes: one all-gather.
struct Introduction {
  static constexpr size_t kMaxAddresses = 16;
  static constexpr size_t kAddressBytes = 64;
  std::array<char, 256> host{};
  DeviceText device{};
  HeartbeatToken token{};  // rank 0's is the job's
  int32_t port = 0;        // 0: no hub
  std::array<std::array<char, kAddressBytes>, kMaxAddresses> addresses{};
};

template <size_t N>
void SetText(std::array<char, N>& to, const std::string& from) {
  std::memcpy(to.data(), from.data(), std::min(from.size(), N - 1));
}

// Signals are for the thread that the program's handlers know.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

std::vector<int> WatchedBy(int rank, int size) {
  std::vector<int> watched;
  const int n = rank < kHubs ? size : std::min(size, kHubs);
  for (int r = 0; r < n; ++r) watched.push_back(r);
  return watched;
}

}  // namespace

class Heartbeat::Impl {
 public:
  Impl(Communicator& communicator, HeartbeatOptions options)
      : rank_(communicator.rank()),
        size_(communicator.size()),
        progress_(communicator.progress()),
        options_(std::move(options)),
        context_(1),
        sockets_(context_, rank_, size_),
        judge_(rank_, WatchedBy(rank_, size_), options_.limits, Clock::now()),
        wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (options_.host.empty()) options_.host = HostName();
    std::string problem = Introduce(communicator);
    {
      const SignalsBlocked blocked;
      thread_ = std::thread([this] { Run(); });
    }
    // From here on the thread runs, and is to be joined whatever comes.
    try {
      if (problem.empty()) problem = AwaitMeeting();
      Agree(communicator, problem);
    } catch (...) {
      Close();
      throw;
    }
    Post({.kind = Command::kJudge});
  }

  void NameDevice(Communicator& communicator, const std::string& device) {
    DeviceText mine{};
    SetText(mine, device);
    std::vector<std::string> devices;
    for (const DeviceText& each : GatherValues(communicator, mine))
      devices.emplace_back(each.data());
    Post({.kind = Command::kDevices, .devices = std::move(devices)});
  }

  ~Impl() {
    Close();
    close(wake_fd_);
  }

  void SetStepTimeout(milliseconds timeout) {
    Post({.kind = Command::kStepTimeout, .timeout = timeout});
  }

  void Fail(const std::string& sentence, int exit_code, bool in_communication) {
    Post({.kind = Command::kFail,
          .sentence = sentence,
          .exit_code = exit_code,
          .in_communication = in_communication});
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kVerdictWait, [&] { return over_; });
  }

  void Close() {
    if (!thread_.joinable()) return;
    Post({.kind = Command::kClose});
    thread_.join();
  }

 private:
  // What the owner's thread asks of the heartbeat's.
  struct Command {
    enum Kind { kJudge, kDevices, kStepTimeout, kFail, kClose } kind = kJudge;
    std::vector<std::string> devices{};  // by rank
    milliseconds timeout{};
    std::string sentence{};
    int exit_code = 0;
    bool in_communication = false;
  };

  // Binds and connects; what went wrong with that, to be agreed upon.
  std::string Introduce(Communicator& communicator) {
    std::string problem;
    Introduction mine;
    SetText(mine.host, options_.host);
    SetText(mine.device, options_.device);
    std::random_device random;
    for (uint8_t& byte : mine.token) byte = static_cast<uint8_t>(random());
    if (rank_ < kHubs) {
      try {
        mine.port = sockets_.Bind();
      } catch (const CommError& error) {
        problem = error.what();
      }
      const std::vector<std::string> addresses = HostAddresses();
      // Loopback, the last of them, is always told.
      for (size_t i = 0; i < std::min(addresses.size(), Introduction::kMaxAddresses); ++i) {
        SetText(mine.addresses[i],
                i + 1 == Introduction::kMaxAddresses ? addresses.back() : addresses[i]);
      }
    }
    for (const Introduction& each : GatherValues(communicator, mine)) {
      hosts_.emplace_back(each.host.data());
      devices_.emplace_back(each.device.data());
      if (hosts_.size() == 1) sockets_.SetToken(each.token);
      const int hub = static_cast<int>(hosts_.size()) - 1;
      if (hub >= rank_ || hub >= kHubs) continue;
      std::vector<std::string> endpoints;
      for (const auto& address : each.addresses) {
        const std::string text(address.data());
        if (text.empty() || each.port == 0) continue;
        if (text == "127.0.0.1" && hosts_.back() != options_.host) continue;
        endpoints.push_back(fmt::format("tcp://{}:{}", text, each.port));
      }
      sockets_.Connect(hub, endpoints);
    }
    unreached_ = sockets_.unreached();
    return problem;
  }

  std::string AwaitMeeting() {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, options_.meeting, [&] { return met_; })) return {};
    return fmt::format(
        "rank {} on {} and {} do not reach each other within {} s", rank_, options_.host,
        unreached_.empty() ? std::string("higher ranks")
                           : fmt::format("rank {}", fmt::join(unreached_, ", rank ")),
        options_.meeting.count() / 1000);
  }

  static void Agree(Communicator& communicator, const std::string& problem) {
    std::array<char, 512> mine{};
    SetText(mine, problem);
    for (const auto& text : GatherValues(communicator, mine)) {
      if (text[0] != '\0') throw CommError(text.data());
    }
  }

  void Post(Command command) {
    {
      const std::lock_guard lock(mutex_);
      commands_.push_back(std::move(command));
    }
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof(one));
  }

  std::deque<Command> TakeCommands() {
    uint64_t count = 0;
    [[maybe_unused]] const auto n = read(wake_fd_, &count, sizeof(count));
    const std::lock_guard lock(mutex_);
    return std::exchange(commands_, {});
  }

  void Run() {
    try {
      while (Turn()) {
      }
    } catch (const std::exception& error) {
      spdlog::error("the heartbeat of rank {} ends: {}", rank_, error.what());
    }
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

  // One look at everything; false: the heartbeat is over.
  bool Turn() {
    const auto begin = Clock::now();
    const ProgressView progress = progress_.Read();
    judge_.Heard(begin, rank_, progress);
    const bool moves = progress.phase != told_.phase || progress.step != told_.step ||
                       progress.layer != told_.layer;
    if (begin - told_at_ >= options_.interval || (moves && begin - told_at_ >= kMovingBeat)) {
      if (!judging_) sockets_.SendHello();
      Tell({.kind = HeartbeatFrame::Kind::kBeat, .progress = progress});
    }
    for (const BeatSockets::Event& event : sockets_.Wait(kLook, wake_fd_)) {
      if (!Handle(event)) return false;
    }
    if (!met_) Meet(progress);
    for (const Command& command : TakeCommands()) Obey(command);
    const auto now = Clock::now();
    if (judging_ && !farewell_at_) {
      // As of the last look's begin: whatever was sent before it has been read, so that a thread
      // which slept since then takes no connection's end for a death whose farewell waits unread.
      if (const auto verdict = judge_.Decide(begin)) {
        Speak(*verdict);
        return false;
      }
    }
    if (!closing_) return true;
    if (!farewell_at_) {
      if (judging_ && judge_.undecided() && now < closing_at_ + kVerdictWait) return true;
      Tell({.kind = HeartbeatFrame::Kind::kBye, .progress = progress});
      farewell_at_ = now;
    }
    return !judge_.farewell_read() && now < *farewell_at_ + kFarewellWait;
  }

  void Tell(HeartbeatFrame frame) {
    told_ = frame.progress;
    told_at_ = Clock::now();
    sockets_.Send(std::move(frame));
  }

  void Meet(const ProgressView& progress) {
    const std::vector<int> unreached = sockets_.unreached();
    // A hub that has just answered is to hear this rank on the connection that was chosen.
    if (unreached.size() != unreached_.size()) {
      Tell({.kind = HeartbeatFrame::Kind::kBeat, .progress = progress});
    }
    const std::lock_guard lock(mutex_);
    unreached_ = unreached;
    met_ = sockets_.ready();
    changed_.notify_all();
  }

  bool Handle(const BeatSockets::Event& event) {
    const auto now = Clock::now();
    if (event.closed) {
      judge_.Closed(now, event.rank);
      return true;
    }
    const HeartbeatFrame& frame = event.frame;
    switch (frame.kind) {
      case HeartbeatFrame::Kind::kFailed:
        judge_.Failed(now, event.rank, frame.progress, frame.text, frame.exit_code,
                      frame.in_communication);
        return true;
      case HeartbeatFrame::Kind::kBye:
        judge_.Left(event.rank);
        Tell({.kind = HeartbeatFrame::Kind::kFarewellRead,
              .progress = progress_.Read(),
              .subject = event.rank});
        return true;
      case HeartbeatFrame::Kind::kFarewellRead:
        judge_.Heard(now, event.rank, frame.progress);
        if (frame.subject == rank_) judge_.FarewellRead(event.rank);
        return true;
      case HeartbeatFrame::Kind::kVerdict:
        options_.end(frame.exit_code);
        return false;
      default:
        judge_.Heard(now, event.rank, frame.progress);
        return true;
    }
  }

  void Obey(const Command& command) {
    switch (command.kind) {
      case Command::kJudge:
        judging_ = true;
        break;
      case Command::kDevices:
        devices_ = command.devices;
        break;
      case Command::kStepTimeout:
        judge_.SetStepTimeout(command.timeout);
        break;
      case Command::kFail: {
        const ProgressView progress = progress_.Read();
        judge_.Failed(Clock::now(), rank_, progress, command.sentence, command.exit_code,
                      command.in_communication);
        Tell({.kind = HeartbeatFrame::Kind::kFailed,
              .progress = progress,
              .exit_code = command.exit_code,
              .in_communication = command.in_communication,
              .text = command.sentence});
        break;
      }
      case Command::kClose:
        closing_ = true;
        closing_at_ = Clock::now();
        break;
    }
  }

  void Speak(const Verdict& verdict) {
    // Said first: once another rank has ended, mpirun may end this one at any moment.
    const auto at = static_cast<size_t>(verdict.rank);
    options_.say(VerdictSentence(verdict, hosts_[at], devices_[at]));
    Tell({.kind = HeartbeatFrame::Kind::kVerdict,
          .progress = progress_.Read(),
          .subject = verdict.rank,
          .exit_code = verdict.exit_code,
          .text = verdict.cause});
    std::this_thread::sleep_for(kSpread);
    options_.end(verdict.exit_code);
  }

  const int rank_;
  const int size_;
  const RankProgress& progress_;
  HeartbeatOptions options_;
  // By rank; the heartbeat's thread's alone, once it runs.
  std::vector<std::string> hosts_, devices_;
  zmq::context_t context_;
  BeatSockets sockets_;

  // The heartbeat's thread.
  Judge judge_;
  ProgressView told_;
  Clock::time_point told_at_{};
  Clock::time_point closing_at_{};
  bool judging_ = false;
  bool closing_ = false;
  std::optional<Clock::time_point> farewell_at_;  // when it was said

  // Shared with the owner's thread.
  const int wake_fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Command> commands_;
  std::vector<int> unreached_;  // written by the heartbeat's thread alone, as met_ and over_
  bool met_ = false;
  bool over_ = false;

  std::thread thread_;
};

Heartbeat::Heartbeat(Communicator& communicator, HeartbeatOptions options)
    : communicator_(communicator),
      impl_(std::make_unique<Impl>(communicator, std::move(options))) {}

Heartbeat::~Heartbeat() = default;

void Heartbeat::NameDevice(const std::string& device) { impl_->NameDevice(communicator_, device); }

void Heartbeat::SetStepTimeout(milliseconds timeout) { impl_->SetStepTimeout(timeout); }

void Heartbeat::Fail(const std::string& sentence, int exit_code, bool in_communication) {
  impl_->Fail(sentence, exit_code, in_communication);
}

void Heartbeat::Close() { impl_->Close(); }

}  // namespace kvfold
