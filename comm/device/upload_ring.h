// comm/device/upload_ring.h: host memory through which bytes travel to a device while the host goes
// on. Whoever has something to send asks for room, writes there (on as many threads as it likes)
// and submits; the room is taken again when the copy engine says that its copy has been made.
//
// Right:  std::span<std::byte> room = ring.Acquire(n); fill(room); ring.Submit(room, to, n);
// Wrong:  two Acquires without a Submit between them: the second finds no room of its own.
//
// One calling thread. No allocation after the constructor. Pieces are handed out in the order of a
// ring, each contiguous and aligned to kUploadAlignmentBytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvfold {

inline constexpr int64_t kUploadAlignmentBytes = 256;

// What makes the copies, in the order in which they were started. Tickets count up from 0, one a
// copy.
class CopyEngine {
 public:
  virtual ~CopyEngine() = default;
  virtual void Start(const std::byte* from, std::byte* to, int64_t bytes, int64_t ticket) = 0;
  virtual bool Done(int64_t ticket) = 0;   // does not wait
  virtual void Await(int64_t ticket) = 0;  // returns when this copy has been made
};

class UploadRing {
 public:
  // Borrows both, which outlive it. At most max_copies copies are in flight at a time.
  UploadRing(CopyEngine& engine, std::span<std::byte> memory, int max_copies);

  // The most bytes that one piece can have.
  int64_t largest_piece_bytes() const { return capacity_bytes_; }
  // Room for 1 <= bytes <= largest_piece_bytes(), waiting for copies in flight only where there is
  // no other.
  std::span<std::byte> Acquire(int64_t bytes);
  // Sends the first `bytes` bytes of what Acquire gave (0: gives the room back).
  void Submit(std::span<std::byte> room, std::byte* to, int64_t bytes);
  // Copies from pageable memory, in pieces of at most a quarter of the ring, so that the host fills
  // one while others travel.
  void Send(const std::byte* from, std::byte* to, int64_t bytes);
  // Waits until every copy has been made.
  void Drain();

  int64_t n_waits() const { return n_waits_; }  // times that Acquire had to wait
  int64_t sent_bytes() const { return sent_bytes_; }

 private:
  struct Flight {
    int64_t begin_bytes = 0;  // of its room, in the ring
    int64_t end_bytes = 0;
    int64_t ticket = 0;
  };
  const Flight& Oldest() const { return flights_[first_flight_]; }
  void Retire();              // the oldest flight's room is free again
  bool Place(int64_t bytes);  // sets acquired_begin_; whether there was room

  CopyEngine& engine_;
  std::byte* memory_;
  int64_t capacity_bytes_;
  std::vector<Flight> flights_;  // a ring of max_copies
  size_t first_flight_ = 0;
  size_t n_flights_ = 0;
  int64_t next_bytes_ = 0;  // where the next piece would begin
  int64_t acquired_begin_ = -1;
  int64_t acquired_bytes_ = 0;
  int64_t next_ticket_ = 0;
  int64_t n_waits_ = 0;
  int64_t sent_bytes_ = 0;
};

}  // namespace kvfold
