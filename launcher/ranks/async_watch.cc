#include "launcher/ranks/async_watch.h"

#include <utility>

namespace kvfold {

AsyncWatch::AsyncWatch(std::function<std::string()> poll,
                       std::function<void(const std::string&)> on_problem,
                       std::chrono::milliseconds interval)
    : thread_([this, poll = std::move(poll), on_problem = std::move(on_problem), interval] {
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, interval, [this] { return stopped_; })) {
          lock.unlock();
          if (const std::string problem = poll(); !problem.empty()) {
            on_problem(problem);
            return;
          }
          lock.lock();
        }
      }) {}

AsyncWatch::~AsyncWatch() {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace kvfold
