#include "comm/staged/staged_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>
#include <queue>
#include <tuple>
#include <vector>

#include "comm/local/local_group.h"
#include "tests/comm/collective_properties.h"
#include "tests/support/plain_transfer.h"

namespace kvfold {
namespace {

using testing::HasSubstr;

// A device's stream whose work is done as late as it may be: when the host waits for it.
class LazyStream : public Stream {
 public:
  void Synchronize() override { RunUntil(n_issued_); }
  int64_t Issue(std::function<void()> work) {
    work_.push(std::move(work));
    return ++n_issued_;
  }
  void RunUntil(int64_t number) {
    for (; n_done_ < number; ++n_done_) {
      work_.front()();
      work_.pop();
    }
  }

 private:
  std::queue<std::function<void()>> work_;
  int64_t n_issued_ = 0;
  int64_t n_done_ = 0;
};

// Memory that the host cannot read as it stands: every byte is kept with its bits turned.
void Turn(std::byte* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; ++i) data[i] = ~data[i];
}

class LazyTransfer : public DeviceTransfer {
 public:
  explicit LazyTransfer(int64_t staging_bytes) : staging_(static_cast<size_t>(staging_bytes)) {}
  std::span<std::byte> staging() override { return staging_; }
  void StartToHost(const void* from, std::byte* to, int64_t bytes, Stream& stream) override {
    stream_ = static_cast<LazyStream*>(&stream);
    arrived_ = stream_->Issue([=] { Copy(from, to, bytes, true); });
  }
  void AwaitToHost() override { stream_->RunUntil(arrived_); }
  void ToDevice(const std::byte* from, void* to, int64_t bytes, Stream& stream) override {
    static_cast<LazyStream&>(stream).Issue([=] { Copy(from, to, bytes, true); });
  }
  void Within(const void* from, void* to, int64_t bytes, Stream& stream) override {
    static_cast<LazyStream&>(stream).Issue([=] { Copy(from, to, bytes, false); });
  }

 private:
  static void Copy(const void* from, void* to, int64_t bytes, bool turned) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    if (turned) Turn(static_cast<std::byte*>(to), bytes);
  }
  std::vector<std::byte> staging_;
  LazyStream* stream_ = nullptr;
  int64_t arrived_ = 0;
};

class StagedProperties : public testing::TestWithParam<std::tuple<CollectiveProperty, int>> {};

TEST_P(StagedProperties, Hold) {
  const auto& [property, size] = GetParam();
  std::vector<std::string> wrong(size);
  RunLocalRanks(size, [&, check = property.check](Communicator& host) {
    const auto staged = MakeStagedCommunicator(host, std::make_unique<PlainTransfer>(5000));
    wrong[host.rank()] = check(*staged);
  });
  for (int rank = 0; rank < size; ++rank) EXPECT_EQ(wrong[rank], "") << "rank " << rank;
}

INSTANTIATE_TEST_SUITE_P(All, StagedProperties,
                         testing::Combine(testing::ValuesIn(CollectiveProperties().begin(),
                                                            CollectiveProperties().end()),
                                          testing::Range(1, 4)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param).name) + "On" +
                                  std::to_string(std::get<1>(param_info.param));
                         });

float Value(int rank, int64_t i) {
  return std::ldexp(1.0f + static_cast<float>((i * 37 + rank * 101) % 1009) / 1009.0f,
                    static_cast<int>((i + rank) % 9) - 4) *
         ((i + rank) % 2 == 0 ? 1.0f : -1.0f);
}
uint16_t Bf16(float value) {  // exact for what is given here: the low half is cut off
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}
float Wide(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

template <typename T>
std::vector<T> OnDevice(std::vector<T> host) {
  Turn(reinterpret_cast<std::byte*>(host.data()), static_cast<int64_t>(host.size() * sizeof(T)));
  return host;
}

// Several sums one after the other over small staging memory, nothing done before it must be.
TEST(Staged, SumsAsTheHostsDoWhateverTheDevicePutsOff) {
  constexpr int kRanks = 3;
  for (const int64_t staging_bytes : {128, 200, 4096}) {
    RunLocalRanks(kRanks, [&](Communicator& host) {
      const auto staged =
          MakeStagedCommunicator(host, std::make_unique<LazyTransfer>(staging_bytes));
      EXPECT_EQ(staged->transport(), "staged over local");
      LazyStream stream;
      std::vector<std::vector<float>> views;
      for (const int64_t n : {0, 1, 15, 16, 17, 64, 1000}) {
        std::vector<float> mine(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; ++i) mine[i] = Value(host.rank(), i);
        views.push_back(OnDevice(mine));
      }
      for (auto& view : views) {
        staged->StartAllReduceSum(F32View(view.data(), 1, static_cast<int64_t>(view.size())),
                                  stream);
      }
      stream.Synchronize();
      for (const auto& view : views) {
        const std::vector<float> got = OnDevice(view);
        for (size_t i = 0; i < got.size(); ++i) {
          float want = Value(0, static_cast<int64_t>(i));
          for (int r = 1; r < kRanks; ++r) want += Value(r, static_cast<int64_t>(i));
          ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want))
              << "element " << i << " of " << got.size() << ", staging " << staging_bytes;
        }
      }
    });
  }
}

// bf16 views: summed in f32, rounded once to the nearest, ties to even.
TEST(Staged, SumsBf16InF32) {
  constexpr int64_t kElements = 300;
  RunLocalRanks(2, [&](Communicator& host) {
    const auto staged = MakeStagedCommunicator(host, std::make_unique<LazyTransfer>(256));
    EXPECT_TRUE(staged->SumsBf16());
    LazyStream stream;
    std::vector<uint16_t> mine(kElements);
    for (int64_t i = 0; i < kElements; ++i) mine[i] = Bf16(Value(host.rank(), i));
    mine[0] = Bf16(host.rank() == 0 ? 1.0f : 0x1p-8f);        // half a step: to even, 1
    mine[1] = Bf16(host.rank() == 0 ? 1.0078125f : 0x1p-8f);  // half a step: to even, up
    mine[2] = Bf16(host.rank() == 0 ? INFINITY : -INFINITY);
    std::vector<uint16_t> view = OnDevice(mine);
    staged->AllReduceSum({view.data(), DType::kBF16, 1, kElements, kElements}, stream);
    stream.Synchronize();
    view = OnDevice(view);
    EXPECT_EQ(Wide(view[0]), 1.0f);
    EXPECT_EQ(Wide(view[1]), 1.015625f);
    EXPECT_TRUE(std::isnan(Wide(view[2])));
    for (int64_t i = 3; i < kElements; ++i) {
      const float sum = Wide(Bf16(Value(0, i))) + Wide(Bf16(Value(1, i)));
      // Rounding to 8 bits of mantissa moves by half a unit in the last place at most.
      EXPECT_LE(std::abs(Wide(view[i]) - sum), std::abs(sum) * 0x1p-8f) << i;
    }
  });
}

TEST(Staged, GathersInPiecesOfAllRanks) {
  for (const int size : {1, 2, 3}) {
    for (const int64_t n : {0, 1, 31, 64, 1000}) {
      RunLocalRanks(size, [&](Communicator& host) {
        const auto staged = MakeStagedCommunicator(host, std::make_unique<LazyTransfer>(256));
        LazyStream stream;
        std::vector<float> mine(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; ++i) mine[i] = Value(host.rank(), i);
        const std::vector<float> in = OnDevice(mine);
        std::vector<float> out(static_cast<size_t>(n * size));
        staged->AllGather(F32View(in.data(), 1, n), F32View(out.data(), size, n), stream);
        stream.Synchronize();
        out = OnDevice(out);
        for (int64_t i = 0; i < n * size; ++i) {
          ASSERT_EQ(out[i], Value(static_cast<int>(i / n), i % n)) << "element " << i;
        }
      });
    }
  }
}

TEST(Staged, OneRankMovesNothingToTheHost) {
  RunLocalRanks(1, [&](Communicator& host) {
    const auto staged = MakeStagedCommunicator(host, std::make_unique<LazyTransfer>(256));
    EXPECT_EQ(staged->transport(), "local");
    LazyStream stream;
    std::vector<float> view = {1.0f, 2.0f};
    staged->AllReduceSum(F32View(view.data(), 1, 2), stream);
    EXPECT_EQ(stream.Issue([] {}), 1) << "the sum of one rank issued work";
    EXPECT_EQ(view, (std::vector<float>{1.0f, 2.0f}));
  });
}

TEST(Staged, RefusesViewsThatItCannotSum) {
  RunLocalRanks(2, [&](Communicator& host) {
    const auto staged = MakeStagedCommunicator(host, std::make_unique<LazyTransfer>(256));
    LazyStream stream;
    std::vector<int32_t> view(4);
    try {
      staged->AllReduceSum({view.data(), DType::kI8, 1, 4, 4}, stream);
      ADD_FAILURE() << "no error";
    } catch (const ShapeError& error) {
      EXPECT_THAT(error.what(), HasSubstr("expected f32 or bf16"));
    }
    host.Barrier();
  });
}

}  // namespace
}  // namespace kvfold
