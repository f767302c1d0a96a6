#include "comm/device/upload_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <stdexcept>
#include <vector>

namespace kvfold {
namespace {

constexpr int64_t kUnit = kUploadAlignmentBytes;

// Copies as late as it may: at Await, or when the test lets it go on. What is overwritten before
// its copy was made arrives wrong.
class LazyEngine : public CopyEngine {
 public:
  void Start(const std::byte* from, std::byte* to, int64_t bytes, int64_t ticket) override {
    EXPECT_EQ(ticket, next_ticket_++) << "tickets count up";
    waiting_.push_back({from, to, bytes, ticket});
    most_in_flight_ = std::max(most_in_flight_, waiting_.size());
  }
  bool Done(int64_t ticket) override {
    return waiting_.empty() || waiting_.front().ticket > ticket;
  }
  void Await(int64_t ticket) override {
    while (!Done(ticket)) MakeOne();
  }
  void MakeOne() {
    const Copy copy = waiting_.front();
    waiting_.pop_front();
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  }
  size_t in_flight() const { return waiting_.size(); }
  size_t most_in_flight() const { return most_in_flight_; }

 private:
  struct Copy {
    const std::byte* from;
    std::byte* to;
    int64_t bytes;
    int64_t ticket;
  };
  std::deque<Copy> waiting_;
  int64_t next_ticket_ = 0;
  size_t most_in_flight_ = 0;
};

struct Fixture {
  Fixture(int64_t ring_bytes, int max_copies)
      : memory(static_cast<size_t>(ring_bytes)), ring(engine, memory, max_copies) {}
  // Sends `bytes` of a value of its own to the next place of `target`.
  void SendPiece(int64_t bytes) {
    const auto value = static_cast<std::byte>(++n_pieces % 251 + 1);
    const std::span<std::byte> room = ring.Acquire(bytes);
    ASSERT_EQ(static_cast<int64_t>(room.size()), bytes);
    std::memset(room.data(), static_cast<int>(value), room.size());
    expected.insert(expected.end(), static_cast<size_t>(bytes), value);
    const size_t at = target.size() - left();
    ring.Submit(room, target.data() + at, bytes);
    used += bytes;
  }
  size_t left() const { return target.size() - static_cast<size_t>(used); }
  bool Arrived() const { return std::memcmp(target.data(), expected.data(), expected.size()) == 0; }

  LazyEngine engine;
  std::vector<std::byte> memory;
  std::vector<std::byte> target = std::vector<std::byte>(1 << 22);
  std::vector<std::byte> expected;
  UploadRing ring;
  int n_pieces = 0;
  int64_t used = 0;
};

TEST(UploadRing, DoesNotWaitWhileThereIsRoom) {
  Fixture f(8 * kUnit, 100);
  for (int i = 0; i < 8; ++i) f.SendPiece(kUnit);
  EXPECT_EQ(f.ring.n_waits(), 0);
  EXPECT_EQ(f.engine.in_flight(), 8u);
  f.SendPiece(1);
  EXPECT_EQ(f.ring.n_waits(), 1);
  EXPECT_EQ(f.engine.in_flight(), 8u) << "it waited for the oldest alone";
  f.ring.Drain();
  EXPECT_EQ(f.engine.in_flight(), 0u);
  EXPECT_TRUE(f.Arrived());
  EXPECT_EQ(f.ring.sent_bytes(), 8 * kUnit + 1);
}

TEST(UploadRing, TakesRoomThatTheEngineHasLeft) {
  Fixture f(4 * kUnit, 100);
  for (int i = 0; i < 4; ++i) f.SendPiece(kUnit);
  f.engine.MakeOne();
  f.SendPiece(kUnit);
  EXPECT_EQ(f.ring.n_waits(), 0);
  f.SendPiece(kUnit);
  EXPECT_EQ(f.ring.n_waits(), 1);
  f.ring.Drain();
  EXPECT_TRUE(f.Arrived());
}

TEST(UploadRing, PiecesThatDoNotFitBeforeTheEndBeginAtTheStart) {
  Fixture f(4 * kUnit, 100);
  f.SendPiece(kUnit);
  f.SendPiece(2 * kUnit);
  f.engine.MakeOne();
  // One unit is free at the end, one at the start: two together are not to be had without waiting.
  f.SendPiece(2 * kUnit);
  EXPECT_EQ(f.ring.n_waits(), 1);
  f.ring.Drain();
  EXPECT_TRUE(f.Arrived());
}

TEST(UploadRing, APieceMayBeTheWholeRing) {
  Fixture f(4 * kUnit, 100);
  EXPECT_EQ(f.ring.largest_piece_bytes(), 4 * kUnit);
  f.SendPiece(4 * kUnit);
  f.SendPiece(4 * kUnit - 1);
  f.SendPiece(1);
  f.ring.Drain();
  EXPECT_TRUE(f.Arrived());
  EXPECT_EQ(f.ring.n_waits(), 2);
}

TEST(UploadRing, HoldsNoMoreCopiesThanItHasEventsFor) {
  Fixture f(64 * kUnit, 3);
  for (int i = 0; i < 10; ++i) f.SendPiece(1);
  EXPECT_EQ(f.engine.most_in_flight(), 3u);
  f.ring.Drain();
  EXPECT_TRUE(f.Arrived());
}

TEST(UploadRing, GivesRoomBackThatIsNotUsed) {
  Fixture f(2 * kUnit, 4);
  for (int i = 0; i < 5; ++i) f.ring.Submit(f.ring.Acquire(2 * kUnit), f.target.data(), 0);
  EXPECT_EQ(f.engine.in_flight(), 0u);
  const std::span<std::byte> room = f.ring.Acquire(2 * kUnit);
  f.ring.Submit(room, f.target.data(), 1);  // less than was asked for
  f.ring.Acquire(kUnit);
  EXPECT_EQ(f.ring.n_waits(), 0);
}

TEST(UploadRing, SendsMoreThanItHolds) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, kUnit, 5 * kUnit + 3, 1000 * kUnit + 7}) {
    Fixture f(4 * kUnit, 16);
    std::vector<std::byte> from(static_cast<size_t>(bytes));
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 % 253);
    f.ring.Send(from.data(), f.target.data(), bytes);
    f.ring.Drain();
    EXPECT_TRUE(std::equal(from.begin(), from.end(), f.target.begin())) << bytes;
    EXPECT_EQ(f.ring.sent_bytes(), bytes);
  }
}

// Pieces of any size, an engine of any speed: everything arrives as it was written.
TEST(UploadRing, NeverOverwritesACopyThatWasNotMade) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    Fixture f(static_cast<int64_t>(1 + random() % 9) * kUnit + random() % kUnit,
              1 + static_cast<int>(random() % 6));
    for (int i = 0; i < 60; ++i) {
      f.SendPiece(1 + static_cast<int64_t>(random() % f.ring.largest_piece_bytes()));
      while (f.engine.in_flight() > 0 && random() % 3 == 0) f.engine.MakeOne();
    }
    f.ring.Drain();
    ASSERT_TRUE(f.Arrived()) << "seed " << seed;
  }
}

TEST(UploadRing, RefusesWrongUse) {
  Fixture f(2 * kUnit, 4);
  EXPECT_THROW(f.ring.Acquire(0), std::logic_error);
  EXPECT_THROW(f.ring.Acquire(2 * kUnit + 1), std::logic_error);
  const std::span<std::byte> room = f.ring.Acquire(10);
  EXPECT_THROW(f.ring.Acquire(10), std::logic_error);
  EXPECT_THROW(f.ring.Submit(room, f.target.data(), 11), std::logic_error);
  EXPECT_THROW(f.ring.Submit(f.target, f.target.data(), 1), std::logic_error);
  LazyEngine engine;
  EXPECT_THROW(UploadRing(engine, std::span(f.memory).first(kUnit - 1), 1), std::logic_error);
  EXPECT_THROW(UploadRing(engine, f.memory, 0), std::logic_error);
}

}  // namespace
}  // namespace kvfold
