#include "comm/device/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "comm/device/host_limits.h"

namespace kvfold {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Threads, items, spin budget in microseconds (0: workers always sleep).
class ThreadPoolItems : public testing::TestWithParam<std::tuple<int, int64_t, int>> {};

TEST_P(ThreadPoolItems, RunsEveryItemOnceByAWorkerOfThePool) {
  const auto [n_threads, n_items, spin_us] = GetParam();
  ThreadPool pool(n_threads, microseconds(spin_us));
  EXPECT_EQ(pool.size(), n_threads);
  for (int round = 0; round < 20; ++round) {
    std::vector<int> runs(n_items, 0);  // not atomic: an item belongs to one worker
    std::vector<int64_t> by_worker(n_threads, 0);
    pool.ParallelFor(n_items, [&](int64_t item, int worker) {
      ++runs.at(item);
      ++by_worker.at(worker);
    });
    EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), n_items);
    int64_t n_run = 0;
    for (const int64_t n : by_worker) n_run += n;
    EXPECT_EQ(n_run, n_items);
  }
}

INSTANTIATE_TEST_SUITE_P(Edges, ThreadPoolItems,
                         testing::Combine(testing::Values(1, 2, 3, 8),
                                          testing::Values<int64_t>(0, 1, 2, 3, 7, 8, 9, 1000),
                                          testing::Values(0, 100)));

TEST(ThreadPool, HandsItemsOutInRisingOrder) {
  ThreadPool pool(4);
  std::vector<std::vector<int64_t>> taken(pool.size());
  pool.ParallelFor(5000, [&](int64_t item, int worker) { taken[worker].push_back(item); });
  for (const auto& items : taken) EXPECT_TRUE(std::is_sorted(items.begin(), items.end()));
}

TEST(ThreadPool, RunsOneItemAndPoolsOfOneInTheCaller) {
  const std::thread::id caller = std::this_thread::get_id();
  const auto expect_caller = [&](int64_t, int worker) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(worker, 0);
  };
  ThreadPool many(4);
  many.ParallelFor(1, expect_caller);
  many.ParallelFor(0, [](int64_t, int) { FAIL() << "there is no item"; });
  ThreadPool one(1);
  one.ParallelFor(100, expect_caller);
}

// Two items that wait for each other end only if two threads take them. False after 20 s.
bool AllInside(std::atomic<int>& n_inside, int n_expected) {
  ++n_inside;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (n_inside.load() < n_expected && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  return n_inside.load() >= n_expected;
}

// Also while a worker is just about to fall asleep, or has for long.
TEST(ThreadPool, WakesItsWorkers) {
  for (const int spin_us : {0, 20}) {
    ThreadPool pool(2, microseconds(spin_us));
    for (int round = 0; round < 3000; ++round) {
      std::atomic<int> n_inside{0};
      std::atomic<bool> together{true};
      pool.ParallelFor(2, [&](int64_t, int) {
        if (!AllInside(n_inside, 2)) together = false;
      });
      ASSERT_TRUE(together.load()) << "round " << round << ", spin " << spin_us;
      if (round % 50 == 0) std::this_thread::sleep_for(microseconds(200));
    }
  }
}

TEST(ThreadPool, WaitsForTheSlowestWorker) {
  for (const int spin_us : {0, 100, 100000}) {  // the caller sleeps at once, soon, or spins on
    ThreadPool pool(2, microseconds(spin_us));
    std::atomic<int> n_inside{0};
    bool is_done = false;  // not atomic: ParallelFor's return orders it
    pool.ParallelFor(2, [&](int64_t, int worker) {
      EXPECT_TRUE(AllInside(n_inside, 2));
      if (worker == 0) return;
      std::this_thread::sleep_for(milliseconds(20));
      is_done = true;
    });
    EXPECT_TRUE(is_done) << "spin " << spin_us;
  }
}

TEST(ThreadPool, ResultsAreVisibleToTheCaller) {
  ThreadPool pool(3, microseconds(0));
  std::vector<int64_t> squares(257, -1);
  for (int64_t round = 0; round < 200; ++round) {
    pool.ParallelFor(257, [&](int64_t i, int) { squares[i] = i * i + round; });
    for (int64_t i = 0; i < 257; ++i) ASSERT_EQ(squares[i], i * i + round);
  }
}

TEST(ThreadPool, RethrowsInTheCallerAndStaysUsable) {
  for (const int n_threads : {1, 2, 5}) {
    ThreadPool pool(n_threads);
    for (int64_t bad = 0; bad < 40; bad += 13) {
      std::atomic<int> n_inside{0};
      try {
        pool.ParallelFor(40, [&](int64_t item, int) {
          ++n_inside;
          if (item == bad) {
            --n_inside;
            throw std::runtime_error("item " + std::to_string(item));
          }
          --n_inside;
        });
        ADD_FAILURE() << "item " << bad << " of " << n_threads << " threads did not throw";
      } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), "item " + std::to_string(bad));
        EXPECT_EQ(n_inside.load(), 0) << "a worker is still at it";
      }
      std::atomic<int> n_run{0};
      pool.ParallelFor(40, [&](int64_t, int) { ++n_run; });
      EXPECT_EQ(n_run.load(), 40);
    }
  }
}

TEST(ThreadPool, OneOfManyExceptionsArrives) {
  ThreadPool pool(4);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.ParallelFor(64, [](int64_t, int) { throw std::out_of_range("all"); }),
                 std::out_of_range);
  }
}

TEST(ThreadPool, EndsWhileWorkersSpinOrSleep) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(3, microseconds(round % 2 == 0 ? 0 : 200));
    if (round % 3 != 0) pool.ParallelFor(5, [](int64_t, int) {});
    if (round % 5 == 0) std::this_thread::sleep_for(microseconds(300));
  }
}

TEST(ThreadPool, DoesNotSpinWithMoreThreadsThanCores) {
  const int n_cores = AvailableCores();
  EXPECT_GE(n_cores, 1);
  EXPECT_GT(ThreadPool(n_cores).spin_budget(), microseconds(0));
  EXPECT_EQ(ThreadPool(n_cores + 1).spin_budget(), microseconds(0));
  EXPECT_EQ(ThreadPool(n_cores + 1, microseconds(7)).spin_budget(), microseconds(7));
}

TEST(ThreadPool, RefusesAPoolWithoutThreadsAndNestedUse) {
  EXPECT_THROW(ThreadPool(0), std::logic_error);
  ThreadPool pool(2);
  EXPECT_THROW(pool.ParallelFor(-1, [](int64_t, int) {}), std::logic_error);
  EXPECT_THROW(pool.ParallelFor(2, [&](int64_t, int) { pool.ParallelFor(2, [](int64_t, int) {}); }),
               std::logic_error);
}

TEST(ThreadPool, TakesTemporariesAndConstBodies) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  const auto add = [&sum](int64_t item, int) { sum += item; };
  pool.ParallelFor(10, add);
  EXPECT_EQ(sum.load(), 45);
}

}  // namespace
}  // namespace kvfold
