// launcher/ranks/agreement.h over a local group: what happens on one rank is heard on all of them.
#include "launcher/ranks/agreement.h"

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/local/local_group.h"

namespace kvfold {
namespace {

struct Outcome {
  bool threw = false;
  ErrorCode code = ErrorCode::kFailed;
  std::string sentence;
};

// What every rank of a group meets in `body`, after which the group must still be in step.
std::vector<Outcome> OutcomesOf(int size, const std::function<void(Communicator&)>& body) {
  std::vector<Outcome> outcomes(static_cast<size_t>(size));
  RunLocalRanks(size, [&](Communicator& communicator) {
    Outcome& mine = outcomes[static_cast<size_t>(communicator.rank())];
    try {
      body(communicator);
    } catch (const AgreedError& error) {
      mine = {true, error.code(), error.what()};
    }
    communicator.Barrier();
    communicator.Close();
  });
  return outcomes;
}

void ExpectAll(const std::vector<Outcome>& outcomes, ErrorCode code, const std::string& sentence) {
  for (const Outcome& outcome : outcomes) {
    EXPECT_TRUE(outcome.threw);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.sentence, sentence);
  }
}

class Agreement : public testing::TestWithParam<int> {};

TEST_P(Agreement, SuccessOnAllIsSilent) {
  std::mutex mutex;
  int n_calls = 0;
  const auto outcomes = OutcomesOf(GetParam(), [&](Communicator& communicator) {
    RunTogether(communicator, [&] {
      const std::lock_guard lock(mutex);
      ++n_calls;
    });
    RunForFirst(communicator, [] {});
    AgreeOn(communicator, "--chunk", "7");
  });
  for (const Outcome& outcome : outcomes) EXPECT_FALSE(outcome.threw) << outcome.sentence;
  EXPECT_EQ(n_calls, GetParam());
}

TEST_P(Agreement, EveryRankInTurnFailsForAll) {
  for (int failing = 0; failing < GetParam(); ++failing) {
    const auto outcomes = OutcomesOf(GetParam(), [&](Communicator& communicator) {
      RunTogether(communicator, [&] {
        if (communicator.rank() == failing) throw CapacityError("too large");
      });
    });
    ExpectAll(
        outcomes, ErrorCode::kDoesNotFit,
        GetParam() == 1 ? "too large" : "rank " + std::to_string(failing) + ": " + "too large");
  }
}

TEST_P(Agreement, TheSameProblemOnAllNamesNoRank) {
  ExpectAll(OutcomesOf(GetParam(),
                       [](Communicator& communicator) {
                         RunTogether(communicator, [] { throw InputError("no such file"); });
                       }),
            ErrorCode::kBadInput, "no such file");
}

TEST_P(Agreement, ProblemOfTheFirstAloneNamesNoRank) {
  ExpectAll(OutcomesOf(GetParam(),
                       [](Communicator& communicator) {
                         RunForFirst(communicator, [&] {
                           if (communicator.rank() == 0) throw InputError("line 3 is torn");
                         });
                       }),
            ErrorCode::kBadInput, "line 3 is torn");
}

TEST_P(Agreement, AnyExceptionIsHeard) {
  ExpectAll(OutcomesOf(GetParam(),
                       [](Communicator& communicator) {
                         RunTogether(communicator, [] { throw std::logic_error("a bug"); });
                       }),
            ErrorCode::kFailed, "a bug");
}

INSTANTIATE_TEST_SUITE_P(Sizes, Agreement, testing::Values(1, 2, 3, 5));

TEST(AgreementOfSeveral, TheLowestRankHasTheFloor) {
  const auto outcomes = OutcomesOf(4, [](Communicator& communicator) {
    RunTogether(communicator, [&] {
      if (communicator.rank() == 1) throw InputError("one");
      if (communicator.rank() == 3) throw CapacityError("three");
    });
  });
  ExpectAll(outcomes, ErrorCode::kBadInput, "rank 1: one");
}

TEST(AgreementOfSeveral, LongSentencesAreCutAlikeOnAll) {
  const auto outcomes = OutcomesOf(2, [](Communicator& communicator) {
    RunTogether(communicator, [] { throw InputError(std::string(100'000, 'x')); });
  });
  ExpectAll(outcomes, ErrorCode::kBadInput, std::string(1 << 16, 'x') + "...");
}

TEST(AgreementOfSeveral, SentencesOfAnyOrdinaryLengthAreToldWhole) {
  const std::string sentence = "caf\u00e9 " + std::string(5000, 'x') + ", expected y";
  const auto outcomes = OutcomesOf(3, [&](Communicator& communicator) {
    RunForFirst(communicator, [&] {
      if (communicator.rank() == 0) throw InputError(sentence);
    });
  });
  ExpectAll(outcomes, ErrorCode::kBadInput, sentence);
}

TEST(AgreementOfSeveral, MismatchNamesTheRankAndBothTexts) {
  for (int other = 0; other < 3; ++other) {
    const auto outcomes = OutcomesOf(3, [&](Communicator& communicator) {
      AgreeOn(communicator, "--chunk", communicator.rank() == other ? "8" : "7");
    });
    const std::string sentence =
        other == 0 ? "rank 1 has --chunk 7, rank 0 has 8: all ranks must have the same"
                   : "rank " + std::to_string(other) +
                         " has --chunk 8, rank 0 has 7: all ranks must have the same";
    ExpectAll(outcomes, ErrorCode::kBadInput, sentence);
  }
}

TEST(AgreementOfSeveral, PrefixesAndEmptyTextsDiffer) {
  for (const auto& [first, second] : {std::pair{"", "7"}, {"7", "70"}, {"70", "7"}}) {
    const auto outcomes = OutcomesOf(2, [&](Communicator& communicator) {
      AgreeOn(communicator, "--chunk", communicator.rank() == 0 ? first : second);
    });
    EXPECT_TRUE(outcomes[0].threw);
    EXPECT_TRUE(outcomes[1].threw);
  }
}

}  // namespace
}  // namespace kvfold
