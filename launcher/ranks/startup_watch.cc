#include "launcher/ranks/startup_watch.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "comm/error.h"
#include "comm/heartbeat/addresses.h"

namespace kvfold {

StartupWatch::StartupWatch(StartupWatchOptions options) : options_(std::move(options)) {
  if (options_.timeout.count() == 0) return;
  try {
    thread_ = std::thread([this] { Watch(); });
  } catch (const std::system_error&) {
    // No thread to be had: a start-up that comes together needs no watch.
  }
}

StartupWatch::~StartupWatch() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  over_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StartupWatch::WaitFor(std::string what) {
  const std::lock_guard lock(mutex_);
  waited_for_ = std::move(what);
}

void StartupWatch::Watch() {
  std::unique_lock lock(mutex_);
  auto wait = options_.timeout;
  if (options_.rank != 0) wait += options_.patience;
  if (over_changed_.wait_for(lock, wait, [this] { return over_; })) return;
  options_.say(
      fmt::format("the ranks did not come together within {:.0f} s (--step-timeout): rank {} on {} "
                  "waits for {}",
                  std::chrono::duration<double>(options_.timeout).count(), options_.rank,
                  HostName(), waited_for_));
  options_.end(static_cast<int>(ErrorCode::kFailed));
}

}  // namespace kvfold
