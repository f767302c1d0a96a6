#include "launcher/ranks/async_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>

namespace kvfold {
namespace {

using std::chrono::milliseconds;

TEST(AsyncWatch, TellsTheFirstProblemOnce) {
  std::atomic<int> n_polls{0};
  std::atomic<int> n_told{0};
  std::promise<std::string> told;
  {
    AsyncWatch watch([&] { return ++n_polls < 3 ? std::string() : std::string("it broke"); },
                     [&](const std::string& problem) {
                       if (++n_told == 1) told.set_value(problem);
                     },
                     milliseconds(1));
    EXPECT_EQ(told.get_future().get(), "it broke");
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(n_told, 1);
  EXPECT_EQ(n_polls, 3);
}

TEST(AsyncWatch, EndsAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  {
    AsyncWatch watch([] { return std::string(); }, [](const std::string&) {}, milliseconds(60000));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(10000));
}

}  // namespace
}  // namespace kvfold
