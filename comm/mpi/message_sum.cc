#include "comm/mpi/message_sum.h"

#include <algorithm>

#include "comm/mpi/mpi_check.h"
#include "comm/rank_order_sum.h"

namespace kvfold::internal {
namespace {

// Up to here the second exchange costs more than the bytes that it saves, by
// tests/comm/all_reduce_bench.cc.
constexpr int64_t kGatheredElements = 4096;
// Large enough that the cost of a message is lost in its bytes, small enough for the last-level
// cache.
constexpr int64_t kPieceElements = int64_t{1} << 20;
constexpr int64_t kLineElements = 16;  // shares begin on cache lines

}  // namespace

MessageSum::MessageSum(MPI_Comm communicator, int rank, int size, int64_t largest_message_bytes)
    : communicator_(communicator),
      rank_(rank),
      size_(size),
      piece_elements_(std::clamp<int64_t>(largest_message_bytes / int64_t{sizeof(float)} / size, 1,
                                          kPieceElements)),
      inputs_(size),
      send_counts_(size),
      send_starts_(size),
      receive_counts_(size),
      receive_starts_(size) {
  const int64_t gathered = size * std::min(piece_elements_, kGatheredElements);
  const int64_t shared = piece_elements_ + size * kLineElements;  // size times the longest share
  scratch_.resize(std::max(gathered, shared));
}

void MessageSum::Run(float* view, int64_t n_elements) {
  for (int64_t begin = 0; begin < n_elements; begin += piece_elements_) {
    const int64_t n = std::min(piece_elements_, n_elements - begin);
    if (n <= kGatheredElements) {
      RunGathered(view + begin, n);
    } else {
      RunShared(view + begin, n);
    }
  }
}

void MessageSum::RunGathered(float* view, int64_t n_elements) {
  const int n = static_cast<int>(n_elements);
  CheckMpi(MPI_Allgather(view, n, MPI_FLOAT, scratch_.data(), n, MPI_FLOAT, communicator_),
           "all-reduce (MPI_Allgather)", rank_);
  for (int rank = 0; rank < size_; ++rank) inputs_[rank] = scratch_.data() + rank * n_elements;
  SumInRankOrder(inputs_, n_elements, view);
}

void MessageSum::RunShared(float* view, int64_t n_elements) {
  const ElementRange own = ShareOfElements(n_elements, rank_, size_);
  const int64_t own_elements = own.end - own.begin;
  for (int rank = 0; rank < size_; ++rank) {
    const ElementRange share = ShareOfElements(n_elements, rank, size_);
    send_counts_[rank] = static_cast<int>(share.end - share.begin);
    send_starts_[rank] = static_cast<int>(share.begin);
    receive_counts_[rank] = static_cast<int>(own_elements);
    receive_starts_[rank] = static_cast<int>(rank * own_elements);
    inputs_[rank] = scratch_.data() + rank * own_elements;
  }
  CheckMpi(MPI_Alltoallv(view, send_counts_.data(), send_starts_.data(), MPI_FLOAT, scratch_.data(),
                         receive_counts_.data(), receive_starts_.data(), MPI_FLOAT, communicator_),
           "all-reduce (MPI_Alltoallv)", rank_);
  SumInRankOrder(inputs_, own_elements, view + own.begin);
  CheckMpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, view, send_counts_.data(),
                          send_starts_.data(), MPI_FLOAT, communicator_),
           "all-reduce (MPI_Allgatherv)", rank_);
}

}  // namespace kvfold::internal
