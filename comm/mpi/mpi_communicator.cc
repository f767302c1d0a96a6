#include "comm/mpi/mpi_communicator.h"

#include <mpi.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

#include "comm/collective_shapes.h"
#include "comm/error.h"
#include "comm/mpi/message_sum.h"
#include "comm/mpi/mpi_check.h"
#include "comm/mpi/window_sum.h"

namespace kvfold {
namespace {

using internal::CheckMpi;

void ThrowIfNotEmpty(const char* operation, int rank, const std::string& problem) {
  if (!problem.empty()) {
    throw ShapeError(fmt::format("{} on rank {}: {}", operation, rank, problem));
  }
}

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(const MpiOptions& options, bool on_one_host)
      : largest_message_bytes_(options.largest_message_bytes),
        uncaught_exceptions_(std::uncaught_exceptions()) {
    CheckMpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator_), "MPI_Comm_dup", 0);
    CheckMpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
             0);
    CheckMpi(MPI_Comm_rank(communicator_, &rank_), "MPI_Comm_rank", 0);
    CheckMpi(MPI_Comm_size(communicator_, &size_), "MPI_Comm_size", rank_);
    if (size_ == 1) return;
    MakeSum(options.sum, on_one_host);
  }

  ~MpiCommunicator() override {
    if (communicator_ == MPI_COMM_NULL) return;
    // With an exception in flight the other ranks may not come to free anything together with this
    // one, and the session is about to abort the job.
    if (std::uncaught_exceptions() > uncaught_exceptions_) return;
    try {
      Close();
    } catch (const std::exception& error) {
      spdlog::error("closing the communicator failed: {}", error.what());
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "mpi"; }

  PendingCollective StartAllReduceSum(TensorView view, Stream&) override {
    CheckOpen("all-reduce");
    const WaitMark mark(progress());
    ThrowIfNotEmpty("all-reduce", rank_, internal::AllReduceProblem(view));
    float* const data = static_cast<float*>(view.data);
    if (window_sum_) {
      window_sum_->Run(data, view.elements());
    } else if (message_sum_) {
      message_sum_->Run(data, view.elements());
    }
    return {};  // nothing is left to await
  }

  void AllGather(ConstTensorView in, TensorView out, Stream&) override {
    CheckOpen("all-gather");
    const WaitMark mark(progress());
    ThrowIfNotEmpty("all-gather", rank_, internal::AllGatherProblem(in, out, size_));
    Gather(static_cast<const std::byte*>(in.data), in.elements() * DTypeBytes(in.dtype),
           static_cast<std::byte*>(out.data));
  }

  void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) override {
    CheckOpen("all-gather of bytes");
    const WaitMark mark(progress());
    ThrowIfNotEmpty("all-gather of bytes", rank_, internal::AllGatherBytesProblem(in, out, size_));
    Gather(in.data(), static_cast<int64_t>(in.size()), out.data());
  }

  void BroadcastBytes(std::span<std::byte> bytes, int root) override {
    CheckOpen("broadcast of bytes");
    const WaitMark mark(progress());
    ThrowIfNotEmpty("broadcast of bytes", rank_, internal::RootProblem(root, size_));
    while (!bytes.empty()) {
      const auto piece =
          bytes.first(std::min(bytes.size(), static_cast<size_t>(largest_message_bytes_)));
      CheckMpi(
          MPI_Bcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, root, communicator_),
          "broadcast of bytes (MPI_Bcast)", rank_);
      bytes = bytes.subspan(piece.size());
    }
  }

  void Barrier() override {
    CheckOpen("barrier");
    const WaitMark mark(progress());
    CheckMpi(MPI_Barrier(communicator_), "barrier (MPI_Barrier)", rank_);
  }

  void Abort(const std::string& reason, int exit_code) override {
    if (!reason.empty()) spdlog::error("{}", reason);
    spdlog::default_logger()->flush();
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }

  void Close() override {
    if (communicator_ == MPI_COMM_NULL) return;
    window_sum_.reset();
    message_sum_.reset();
    CheckMpi(MPI_Comm_free(&communicator_), "MPI_Comm_free", rank_);
  }

 private:
  void CheckOpen(const char* operation) const {
    KVFOLD_CHECK(communicator_ != MPI_COMM_NULL, "closed before", operation);
  }

  void MakeSum(MpiOptions::Sum sum, bool on_one_host) {
    if (sum == MpiOptions::Sum::kWindow && !on_one_host) {
      throw CommError("a shared window was asked for, but the ranks are on several hosts");
    }
    if (sum != MpiOptions::Sum::kMessages && on_one_host) {
      try {
        window_sum_.emplace(communicator_, rank_, size_);
        return;
      } catch (const CommError& error) {
        if (sum == MpiOptions::Sum::kWindow) throw;
        spdlog::warn("sums go by messages, which is slower: {}", error.what());
      }
    }
    message_sum_.emplace(communicator_, rank_, size_, largest_message_bytes_);
  }

  // `bytes` of every rank into `out`, in rank order; `in` may already lie at its place there.
  void Gather(const std::byte* in, int64_t bytes, std::byte* out) {
    if (bytes == 0) return;
    const bool is_in_place = in == out + rank_ * bytes;
    if (bytes <= largest_message_bytes_ / size_) {
      CheckMpi(MPI_Allgather(is_in_place ? MPI_IN_PLACE : in, static_cast<int>(bytes), MPI_BYTE,
                             out, static_cast<int>(bytes), MPI_BYTE, communicator_),
               "all-gather (MPI_Allgather)", rank_);
      return;
    }
    const int64_t piece_bytes = std::max<int64_t>(1, largest_message_bytes_ / size_);
    std::vector<std::byte> pieces(size_ * piece_bytes);
    for (int64_t begin = 0; begin < bytes; begin += piece_bytes) {
      const int64_t n = std::min(piece_bytes, bytes - begin);
      CheckMpi(MPI_Allgather(in + begin, static_cast<int>(n), MPI_BYTE, pieces.data(),
                             static_cast<int>(n), MPI_BYTE, communicator_),
               "all-gather (MPI_Allgather)", rank_);
      for (int r = 0; r < size_; ++r) {
        std::memcpy(out + r * bytes + begin, pieces.data() + r * n, n);
      }
    }
  }

  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int64_t largest_message_bytes_;
  int uncaught_exceptions_;
  std::optional<internal::WindowSum> window_sum_;  // at most one of the two; none for one rank
  std::optional<internal::MessageSum> message_sum_;
};

}  // namespace

std::unique_ptr<Communicator> MpiSession::MakeCommunicator(const MpiOptions& options) {
  KVFOLD_CHECK(
      options.largest_message_bytes >= 1 && options.largest_message_bytes <= int64_t{1} << 30,
      "largest_message_bytes", options.largest_message_bytes);
  int world_size = 1;
  CheckMpi(MPI_Comm_size(MPI_COMM_WORLD, &world_size), "MPI_Comm_size", 0);
  return std::make_unique<MpiCommunicator>(options, host_size_ == world_size);
}

}  // namespace kvfold
