// Signals change the process: each test runs in a process of its own.
#include "launcher/ranks/stop_signal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "comm/local/local_group.h"
#include "launcher/ranks/agreement.h"

namespace kvfold {
namespace {

void CatchAndRaise(std::initializer_list<int> signals) {
  CatchStopSignals();
  for (const int signal : signals) raise(signal);
}

// Exits 0 where the first signal is told by this name.
[[noreturn]] void ExitByName(std::string_view name) {
  const char* const told = StopSignalName();
  std::_Exit(told != nullptr && told == name ? 0 : 1);
}

TEST(StopSignalDeathTest, IsRememberedAndToldByName) {
  EXPECT_EQ(StopSignalName(), nullptr);
  EXPECT_NO_THROW(ThrowIfStopped("x"));
  for (const auto& [signal, name] : {std::pair{SIGTERM, "SIGTERM"},
                                     {SIGINT, "SIGINT"},
                                     {SIGHUP, "SIGHUP"},
                                     {SIGUSR1, "SIGUSR1"}}) {
    EXPECT_EXIT((CatchAndRaise({signal}), ExitByName(name)), testing::ExitedWithCode(0), "");
  }
  EXPECT_EXIT((CatchAndRaise({SIGUSR1, SIGTERM, SIGUSR1}), ExitByName("SIGUSR1")),
              testing::ExitedWithCode(0), "");
}

// By nohup, or by a shell for what a script starts in the background.
TEST(StopSignalDeathTest, WhatIsIgnoredAtTheStartStaysIgnored) {
  for (const int ignored : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    const auto raise_it = [ignored] {
      std::signal(ignored, SIG_IGN);
      CatchAndRaise({ignored, ignored});
      if (StopSignalName() != nullptr) std::_Exit(1);
      // The others are still caught.
      raise(ignored == SIGTERM ? SIGUSR1 : SIGTERM);
      ExitByName(ignored == SIGTERM ? "SIGUSR1" : "SIGTERM");
    };
    EXPECT_EXIT(raise_it(), testing::ExitedWithCode(0), "");
  }
}

TEST(StopSignalDeathTest, WhatIsBlockedAtTheStartComesThrough) {
  const auto raise_it = [] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    CatchAndRaise({SIGTERM});
    ExitByName("SIGTERM");
  };
  EXPECT_EXIT(raise_it(), testing::ExitedWithCode(0), "");
}

TEST(StopSignalDeathTest, SecondInterruptEndsAtOnce) {
  EXPECT_EXIT(CatchAndRaise({SIGINT, SIGINT}), testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(CatchAndRaise({SIGTERM, SIGINT, SIGINT}), testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT((CatchAndRaise({SIGTERM, SIGTERM, SIGUSR1}), ExitByName("SIGTERM")),
              testing::ExitedWithCode(0), "");
}

TEST(StopSignalDeathTest, SaysWhatIsLeft) {
  const auto say = [] {
    CatchAndRaise({SIGTERM});
    try {
      ThrowIfStopped("3 of 4 are done");
    } catch (const StoppedError& error) {
      fmt::print(stderr, "{}", error.what());
      std::_Exit(static_cast<int>(error.code()));
    }
  };
  EXPECT_EXIT(say(), testing::ExitedWithCode(4), "^stopped by SIGTERM: 3 of 4 are done$");
}

// All ranks hear it where rank 0 was told.
TEST(StopSignalDeathTest, RanksStopTogether) {
  RunLocalRanks(3, [](Communicator& communicator) { StopTogether(communicator, "x"); });
  const auto stop = [] {
    CatchAndRaise({SIGUSR1});
    std::atomic<int> stopped = 0;
    RunLocalRanks(3, [&](Communicator& communicator) {
      try {
        StopTogether(communicator, "x");
      } catch (const AgreedError& error) {
        stopped += error.code() == ErrorCode::kStopped ? 1 : 0;
      }
    });
    std::_Exit(stopped == 3 ? 0 : 1);
  };
  EXPECT_EXIT(stop(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace kvfold
