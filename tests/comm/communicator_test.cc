#include "comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include "comm/local/local_group.h"
#include "comm/rank_order_sum.h"
#include "tests/comm/collective_properties.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

struct NoStream : Stream {
  void Synchronize() override {}
};

class LocalCommunicator : public testing::TestWithParam<std::tuple<CollectiveProperty, int>> {};

TEST_P(LocalCommunicator, Holds) {
  const auto& [property, size] = GetParam();
  std::vector<std::string> wrong(size);
  RunLocalRanks(size, [&, check = property.check](Communicator& c) { wrong[c.rank()] = check(c); });
  for (int rank = 0; rank < size; ++rank) EXPECT_EQ(wrong[rank], "") << "rank " << rank;
}

INSTANTIATE_TEST_SUITE_P(All, LocalCommunicator,
                         testing::Combine(testing::ValuesIn(CollectiveProperties().begin(),
                                                            CollectiveProperties().end()),
                                          testing::Range(1, 6)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param).name) + "On" +
                                  std::to_string(std::get<1>(param_info.param));
                         });

TEST(LocalGroup, KnowsRanksAndSize) {
  std::vector<int> seen(3, 0);
  RunLocalRanks(3, [&](Communicator& c) {
    EXPECT_EQ(c.size(), 3);
    EXPECT_EQ(c.transport(), "local");
    ++seen.at(c.rank());
  });
  EXPECT_THAT(seen, testing::Each(1));
  EXPECT_THROW(MakeLocalGroup(0), std::logic_error);
  EXPECT_THROW(RunLocalRanks(-1, [](Communicator&) {}), std::logic_error);
}

TEST(LocalGroup, BarrierWaitsForAll) {
  std::atomic<int> n_arrived{0};
  RunLocalRanks(4, [&](Communicator& c) {
    for (int round = 1; round <= 100; ++round) {
      ++n_arrived;
      c.Barrier();
      EXPECT_GE(n_arrived.load(), 4 * round);
      c.Barrier();
      EXPECT_EQ(n_arrived.load(), 4 * round);
      c.Barrier();
    }
  });
}

// All ranks wait for one that throws; its own exception comes out, soon.
TEST(LocalGroup, ARankThatThrowsEndsTheOthers) {
  for (int bad = 0; bad < 3; ++bad) {
    std::atomic<int> n_ended{0};
    const auto start = std::chrono::steady_clock::now();
    try {
      RunLocalRanks(3, [&](Communicator& c) {
        NoStream stream;
        std::vector<float> data(100, 1.0f);
        c.AllReduceSum(F32View(data.data(), 1, 100), stream);
        if (c.rank() == bad) throw std::out_of_range("the reason of rank " + std::to_string(bad));
        try {
          c.Barrier();
          ADD_FAILURE() << "rank " << c.rank() << " passed a barrier without rank " << bad;
        } catch (const CommError& error) {
          EXPECT_THAT(error.what(), HasSubstr("the reason of rank " + std::to_string(bad)));
          ++n_ended;
          EXPECT_THROW(c.Barrier(), CommError);  // and stays ended
          throw;
        }
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::out_of_range& error) {
      EXPECT_EQ(error.what(), "the reason of rank " + std::to_string(bad));
    }
    EXPECT_EQ(n_ended.load(), 2);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  }
}

TEST(LocalGroup, TheLowestRanksOwnExceptionWins) {
  try {
    RunLocalRanks(4, [](Communicator& c) {
      if (c.rank() == 0) c.Barrier();  // ended by the abort of another rank
      throw std::runtime_error("rank " + std::to_string(c.rank()));
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "rank 1");
  }
}

TEST(LocalGroup, ThrowsWhatIsNoException) {
  EXPECT_THROW(RunLocalRanks(2,
                             [](Communicator& c) {
                               if (c.rank() == 1) throw 7;
                               c.Barrier();
                             }),
               int);
}

TEST(LocalGroup, AbortNamesItsReason) {
  try {
    RunLocalRanks(3, [](Communicator& c) {
      if (c.rank() == 1) {
        c.Abort("no heartbeat from rank 2", 1);
      } else {
        c.Barrier();
      }
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const CommError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no heartbeat from rank 2"));
    EXPECT_THAT(error.what(), HasSubstr("barrier on rank 0"));
  }
}

TEST(LocalGroup, ARankThatLeavesEarlyIsNamed) {
  try {
    RunLocalRanks(3, [](Communicator& c) {
      if (c.rank() != 2) c.Barrier();
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const CommError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 2 has left"));
  }
}

TEST(LocalGroup, AClosedCommunicatorMayNotBeUsed) {
  RunLocalRanks(1, [](Communicator& c) {
    c.Close();
    c.Close();
    EXPECT_THROW(c.Barrier(), std::logic_error);
  });
}

// Every rank must see the error, stay in step, and go on.
TEST(LocalGroup, DifferentSizesAreAShapeErrorEverywhere) {
  for (int size = 2; size <= 5; ++size) {
    std::atomic<int> n_refused{0};
    RunLocalRanks(size, [&](Communicator& c) {
      NoStream stream;
      const int last = size - 1;
      std::vector<float> data(1000 * size, 1.0f);
      const int64_t n = c.rank() == last ? 0 : 10;
      EXPECT_THROW(c.AllReduceSum(F32View(data.data(), 1, n), stream), ShapeError);
      ++n_refused;
      const ConstTensorView in = F32View(data.data(), 1, n);
      EXPECT_THROW(c.AllGather(in, F32View(data.data(), size, n), stream), ShapeError);
      std::vector<std::byte> bytes(100 * size);
      EXPECT_THROW(c.BroadcastBytes(std::span(bytes).first(n), 0), ShapeError);
      EXPECT_THROW(c.BroadcastBytes(bytes, c.rank()), ShapeError);
      EXPECT_THROW(c.AllGatherBytes(std::span(bytes).first(n), std::span(bytes).first(n * size)),
                   ShapeError);
      // A view that is wrong on one rank alone is everybody's error too.
      const DType dtype = c.rank() == last ? DType::kI8 : DType::kF32;
      EXPECT_THROW(c.AllReduceSum({data.data(), dtype, 1, 10, 10}, stream), ShapeError);
      std::vector<float> good(5, 1.0f);
      c.AllReduceSum(F32View(good.data(), 1, 5), stream);
      EXPECT_THAT(good, testing::Each(static_cast<float>(size)));
    });
    EXPECT_EQ(n_refused.load(), size);
  }
}

TEST(LocalGroup, DifferentCallsAreACommErrorEverywhere) {
  std::atomic<int> n_refused{0};
  RunLocalRanks(3, [&](Communicator& c) {
    try {
      if (c.rank() == 1) {
        std::vector<std::byte> bytes(4);
        c.BroadcastBytes(bytes, 0);
      } else {
        c.Barrier();
      }
    } catch (const CommError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rank 1 called broadcast of bytes"));
      ++n_refused;
    }
  });
  EXPECT_EQ(n_refused.load(), 3);
}

TEST(PendingCollective, LogsWhatFailsWhereNobodyAwaits) {
  RunLocalRanks(2, [](Communicator& c) {
    NoStream stream;
    float value = 1.0f;
    if (c.rank() == 1) return;  // leaves the other alone
    const PendingCollective pending = c.StartAllReduceSum(F32View(&value, 1, 1), stream);
    EXPECT_EQ(value, 1.0f);
  });
}

TEST(ShareOfElements, CoversAllInOrderAndWithoutSharedLines) {
  for (const int64_t n : {0, 1, 15, 16, 17, 31, 100, 4095, 4096, 100003}) {
    for (int size = 1; size <= 9; ++size) {
      int64_t begin = 0;
      for (int rank = 0; rank < size; ++rank) {
        const ElementRange share = ShareOfElements(n, rank, size);
        EXPECT_EQ(share.begin, begin) << n << " elements, rank " << rank << " of " << size;
        EXPECT_LE(share.begin, share.end);
        EXPECT_TRUE(share.end == n || share.end % 16 == 0);
        EXPECT_LE(share.end - share.begin, n / size + 16);
        begin = share.end;
      }
      EXPECT_EQ(begin, n);
    }
  }
}

}  // namespace
}  // namespace kvfold
