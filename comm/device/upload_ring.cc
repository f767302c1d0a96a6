#include "comm/device/upload_ring.h"

#include <algorithm>
#include <cstring>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold {

UploadRing::UploadRing(CopyEngine& engine, std::span<std::byte> memory, int max_copies)
    : engine_(engine),
      memory_(memory.data()),
      capacity_bytes_(static_cast<int64_t>(memory.size()) / kUploadAlignmentBytes *
                      kUploadAlignmentBytes),
      flights_(static_cast<size_t>(max_copies)) {
  KVFOLD_CHECK(capacity_bytes_ > 0 && max_copies >= 1, "bytes", memory.size(), "max_copies",
               max_copies);
}

// The free room is [next, oldest) where the flights wrap round the ring's end, else [next, end) and
// [0, oldest). A piece never ends exactly at the oldest flight's begin from behind, or a full ring
// would look like an empty one: n_flights_ tells those apart, and nothing else is needed.
bool UploadRing::Place(int64_t bytes) {
  if (n_flights_ == 0) {
    next_bytes_ = 0;
    acquired_begin_ = 0;
    return true;
  }
  if (n_flights_ == flights_.size()) return false;
  const int64_t oldest = Oldest().begin_bytes;
  if (next_bytes_ > oldest) {
    if (capacity_bytes_ - next_bytes_ >= bytes) {
      acquired_begin_ = next_bytes_;
      return true;
    }
    if (oldest >= bytes) {
      acquired_begin_ = 0;
      return true;
    }
    return false;
  }
  // next == oldest with flights in the air: every byte is taken.
  if (oldest - next_bytes_ < bytes) return false;
  acquired_begin_ = next_bytes_;
  return true;
}

void UploadRing::Retire() {
  first_flight_ = (first_flight_ + 1) % flights_.size();
  --n_flights_;
}

std::span<std::byte> UploadRing::Acquire(int64_t bytes) {
  KVFOLD_CHECK(acquired_begin_ == -1, "acquired before and not submitted", acquired_bytes_);
  KVFOLD_CHECK(bytes >= 1 && bytes <= capacity_bytes_, "bytes", bytes, "largest", capacity_bytes_);
  const int64_t room_bytes = RoundUp(bytes, kUploadAlignmentBytes);
  while (n_flights_ > 0 && engine_.Done(Oldest().ticket)) Retire();
  if (!Place(room_bytes)) {
    ++n_waits_;
    do {
      engine_.Await(Oldest().ticket);
      Retire();
    } while (!Place(room_bytes));
  }
  acquired_bytes_ = room_bytes;
  return {memory_ + acquired_begin_, static_cast<size_t>(bytes)};
}

void UploadRing::Submit(std::span<std::byte> room, std::byte* to, int64_t bytes) {
  KVFOLD_CHECK(acquired_begin_ >= 0 && room.data() == memory_ + acquired_begin_, "acquired at",
               acquired_begin_);
  KVFOLD_CHECK(bytes >= 0 && bytes <= static_cast<int64_t>(room.size()), "bytes", bytes, "room",
               room.size());
  const Flight flight{acquired_begin_, acquired_begin_ + RoundUp(bytes, kUploadAlignmentBytes),
                      next_ticket_};
  acquired_begin_ = -1;
  if (bytes == 0) return;
  engine_.Start(room.data(), to, bytes, next_ticket_);
  ++next_ticket_;
  flights_[(first_flight_ + n_flights_) % flights_.size()] = flight;
  ++n_flights_;
  next_bytes_ = flight.end_bytes == capacity_bytes_ ? 0 : flight.end_bytes;
  sent_bytes_ += bytes;
}

void UploadRing::Send(const std::byte* from, std::byte* to, int64_t bytes) {
  const int64_t piece_bytes = std::max(kUploadAlignmentBytes, capacity_bytes_ / 4);
  for (int64_t begin = 0; begin < bytes; begin += piece_bytes) {
    const int64_t n = std::min(piece_bytes, bytes - begin);
    const std::span<std::byte> room = Acquire(n);
    std::memcpy(room.data(), from + begin, static_cast<size_t>(n));
    Submit(room, to + begin, n);
  }
}

void UploadRing::Drain() {
  while (n_flights_ > 0) {
    engine_.Await(Oldest().ticket);
    Retire();
  }
}

}  // namespace kvfold
