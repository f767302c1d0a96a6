// launcher/ranks/async_watch.h: asks again and again whether something that runs beside this thread
// has failed, such as a collective on a GPU (Communicator::PollAsyncError).
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace kvfold {

class AsyncWatch {
 public:
  // poll: empty while all is well; on_problem: called once with the first text that is not, after
  // which nothing is asked any more. Both from a thread of the watch's own.
  AsyncWatch(std::function<std::string()> poll, std::function<void(const std::string&)> on_problem,
             std::chrono::milliseconds interval = std::chrono::milliseconds(500));
  ~AsyncWatch();  // waits for a call under way
  AsyncWatch(const AsyncWatch&) = delete;
  AsyncWatch& operator=(const AsyncWatch&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace kvfold
