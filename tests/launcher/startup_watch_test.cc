#include "launcher/ranks/startup_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>

namespace kvfold {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;

struct End {
  std::string sentence;
  int exit_code = 0;
};

// What a start-up of `rank` that never comes together ends with.
End EndOf(int rank, milliseconds timeout, milliseconds patience) {
  std::promise<End> ended;
  std::string sentence;
  StartupWatch watch({.timeout = timeout,
                      .patience = patience,
                      .rank = rank,
                      .say = [&](const std::string& said) { sentence = said; },
                      .end =
                          [&](int exit_code) {
                            ended.set_value({sentence, exit_code});
                          }});
  watch.WaitFor("the first");
  watch.WaitFor("the others to arrive");
  return ended.get_future().get();
}

TEST(StartupWatch, EndsWithWhatIsWaitedFor) {
  const End end = EndOf(0, milliseconds(1000), milliseconds(0));
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_THAT(end.sentence, AllOf(HasSubstr("within 1 s"), HasSubstr("--step-timeout"),
                                  HasSubstr("rank 0"), HasSubstr("the others to arrive")));
}

TEST(StartupWatch, OtherRanksSpeakLater) {
  const auto start = steady_clock::now();
  EXPECT_THAT(EndOf(3, milliseconds(50), milliseconds(300)).sentence, HasSubstr("rank 3"));
  EXPECT_GE(steady_clock::now() - start, milliseconds(350));
}

TEST(StartupWatch, OneThatComesTogetherIsLeftAlone) {
  for (const milliseconds timeout : {milliseconds(0), milliseconds(1), milliseconds(60'000)}) {
    StartupWatch watch({.timeout = timeout,
                        .rank = 1,
                        .say = [](const std::string& said) { ADD_FAILURE() << said; },
                        .end = [](int) { ADD_FAILURE(); }});
    watch.WaitFor("nobody");
  }
}

}  // namespace
}  // namespace kvfold
