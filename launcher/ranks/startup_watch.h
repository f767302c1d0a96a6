// launcher/ranks/startup_watch.h: ends a start-up that does not come together. Until the heartbeat
// runs nobody else notices ranks that were never started, cannot reach each other or hang inside
// MPI.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace kvfold {

struct StartupWatchOptions {
  std::chrono::milliseconds timeout{0};  // of the whole start-up; 0: for ever, nothing is watched
  // Before another rank than 0 speaks, so that where all wait only one does.
  std::chrono::milliseconds patience{5000};
  int rank = 0;
  std::function<void(const std::string& sentence)> say;
  std::function<void(int exit_code)> end;  // called from the watch's thread
};

class StartupWatch {
 public:
  explicit StartupWatch(StartupWatchOptions options);
  ~StartupWatch();  // the start-up is over
  StartupWatch(const StartupWatch&) = delete;
  StartupWatch& operator=(const StartupWatch&) = delete;

  // What is waited for from now on, as it stands behind "this rank waits for".
  void WaitFor(std::string what);

 private:
  void Watch();

  const StartupWatchOptions options_;
  std::mutex mutex_;
  std::condition_variable over_changed_;
  bool over_ = false;
  std::string waited_for_ = "nothing yet";
  std::thread thread_;  // goes first
};

}  // namespace kvfold
