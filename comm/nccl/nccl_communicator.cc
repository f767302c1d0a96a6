#include "comm/nccl/nccl_communicator.h"

#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "comm/collective_shapes.h"
#include "comm/device/cuda/cuda_device.h"
#include "comm/error.h"

namespace kvfold {
namespace {

using Clock = std::chrono::steady_clock;

// Thread blocks of one rank's collective where ranks share a GPU: those of all must be resident at
// once beside each other.
constexpr int kSharedMaxCtas = 4;
// How long an abort may take before the job's end stops waiting for it.
constexpr std::chrono::milliseconds kAbortPatience{2000};

std::string ErrorText(const NcclLibrary& library, ncclResult_t result, ncclComm_t comm) {
  std::string text = library.ncclGetErrorString(result);
  if (const char* const more = library.ncclGetLastError(comm); more != nullptr && *more != '\0') {
    text += fmt::format(" ({})", more);
  }
  return text;
}

ncclDataType_t NcclType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kI8:
      return ncclInt8;
  }
  throw ShapeError("NCCL knows no such element type");
}

// Outlives an abort that nobody waits for any longer.
struct NcclState {
  std::timed_mutex call_mutex;  // held while a collective is being enqueued
  std::mutex comm_mutex;        // held to ask for comm's state, to abort it and to let go of it
  ncclComm_t comm = nullptr;
  std::atomic<bool> aborted{false};
};

// What rank 0 tells the others before they meet.
struct Invitation {
  ncclUniqueId id;
  std::array<char, 256> problem{};  // why there is no id; empty if there is
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(Communicator& host, const NcclLibrary& library, const NcclOptions& options)
      : host_(host),
        library_(library),
        native_stream_(options.native_stream != nullptr ? options.native_stream : NativeStream),
        transport_(fmt::format("nccl {}", NcclVersionText(library.Version()))) {
    if (options.shares_devices) {
      // Read by NCCL when the communicator is made; what the user has set counts.
      setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", /*overwrite=*/0);
      setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
      transport_ += ", shared GPUs";
    }
    const ncclUniqueId id = Invite();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    if (options.shares_devices) config.maxCTAs = kSharedMaxCtas;
    const auto deadline = Clock::now() + options.meeting;
    const ncclResult_t result =
        library_.ncclCommInitRankConfig(&state_->comm, size(), id, rank(), &config);
    try {
      AwaitResult(result, "meeting of the ranks", deadline);
    } catch (...) {
      AbortNccl();
      throw;
    }
  }

  ~NcclCommunicator() override {
    // With an exception in flight the other ranks may not come to take leave.
    if (std::uncaught_exceptions() > uncaught_exceptions_) {
      AbortNccl();
      return;
    }
    try {
      Close();
    } catch (const std::exception& error) {
      spdlog::error("closing NCCL's communicator failed: {}", error.what());
    }
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string transport() const override { return transport_; }
  bool SumsBf16() const override { return true; }
  RankProgress& progress() override { return host_.progress(); }

  PendingCollective StartAllReduceSum(TensorView view, Stream& stream) override {
    Require("all-reduce", internal::AllReduceProblem(view, /*bf16=*/true));
    if (view.elements() == 0) return {};
    Enqueue("all-reduce", [&] {
      return library_.ncclAllReduce(view.data, view.data, static_cast<size_t>(view.elements()),
                                    NcclType(view.dtype), ncclSum, state_->comm,
                                    native_stream_(stream));
    });
    return {};  // the stream's order is all there is to await
  }

  void AllGather(ConstTensorView in, TensorView out, Stream& stream) override {
    Require("all-gather", internal::AllGatherProblem(in, out, size()));
    if (in.elements() == 0) return;
    Enqueue("all-gather", [&] {
      return library_.ncclAllGather(in.data, out.data, static_cast<size_t>(in.elements()),
                                    NcclType(in.dtype), state_->comm, native_stream_(stream));
    });
  }

  void BroadcastBytes(std::span<std::byte> bytes, int root) override {
    host_.BroadcastBytes(bytes, root);
  }
  void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) override {
    host_.AllGatherBytes(in, out);
  }
  void Barrier() override { host_.Barrier(); }

  std::string PollAsyncError() override {
    const std::scoped_lock lock(state_->comm_mutex);
    if (state_->comm == nullptr || state_->aborted) return {};
    ncclResult_t result = ncclSuccess;
    const ncclResult_t asked = library_.ncclCommGetAsyncError(state_->comm, &result);
    if (asked != ncclSuccess) result = asked;
    if (result == ncclSuccess || result == ncclInProgress) return {};
    return fmt::format("NCCL on rank {}: {}", rank(), ErrorText(library_, result, state_->comm));
  }

  void Abort(const std::string& reason, int exit_code) override {
    AbortNccl();
    host_.Abort(reason, exit_code);
  }

  void Close() override {
    if (state_->comm == nullptr || state_->aborted) return;
    try {
      Enqueue("finalisation", [&] { return library_.ncclCommFinalize(state_->comm); });
    } catch (...) {
      AbortNccl();
      throw;
    }
    const std::scoped_lock lock(state_->comm_mutex);
    const ncclResult_t result = library_.ncclCommDestroy(std::exchange(state_->comm, nullptr));
    if (result != ncclSuccess) {
      throw CommError(fmt::format("NCCL's communicator on rank {} cannot be destroyed: {}", rank(),
                                  library_.ncclGetErrorString(result)));
    }
  }

 private:
  // Rank 0's unique id on all ranks.
  ncclUniqueId Invite() {
    Invitation invitation;
    if (rank() == 0) {
      const ncclResult_t result = library_.ncclGetUniqueId(&invitation.id);
      if (result != ncclSuccess) {
        const std::string problem =
            fmt::format("NCCL gives no id: {}", ErrorText(library_, result, nullptr));
        std::strncpy(invitation.problem.data(), problem.c_str(), invitation.problem.size() - 1);
      }
    }
    host_.BroadcastBytes(std::as_writable_bytes(std::span(&invitation, 1)), 0);
    if (invitation.problem[0] != '\0') throw CommError(invitation.problem.data());
    return invitation.id;
  }

  void Require(const char* operation, const std::string& problem) const {
    if (!problem.empty()) {
      throw ShapeError(fmt::format("{} on rank {}: {}", operation, rank(), problem));
    }
    KVFOLD_CHECK(state_->comm != nullptr, "closed before", operation);
  }

  template <typename Call>
  void Enqueue(const char* operation, Call&& call) {
    const std::scoped_lock lock(state_->call_mutex);
    ThrowIfAborted(operation);
    AwaitResult(call(), operation, std::nullopt);
  }

  void ThrowIfAborted(const char* operation) const {
    if (state_->aborted) {
      throw CommError(fmt::format("{} on rank {}: the group was aborted", operation, rank()));
    }
  }

  // A call of a communicator that does not block may still be at work when it returns, and no other
  // may be made before it is done. Without a deadline, whoever watches the ranks ends a wait for
  // one that has gone, by Abort.
  void AwaitResult(ncclResult_t result, const char* operation,
                   std::optional<Clock::time_point> deadline) {
    while (result == ncclInProgress) {
      if (deadline && Clock::now() > *deadline) {
        throw CommError(
            fmt::format("{} on rank {}: the ranks did not meet in time", operation, rank()));
      }
      std::this_thread::yield();
      const std::scoped_lock lock(state_->comm_mutex);
      ThrowIfAborted(operation);
      const ncclResult_t asked = library_.ncclCommGetAsyncError(state_->comm, &result);
      if (asked != ncclSuccess) result = asked;
    }
    if (result != ncclSuccess) {
      throw CommError(fmt::format("{} on rank {}: NCCL: {}", operation, rank(),
                                  ErrorText(library_, result, state_->comm)));
    }
  }

  // From any thread. NCCL may itself hang on a broken GPU; the job's end does not wait for it.
  void AbortNccl() {
    if (state_->comm == nullptr || state_->aborted.exchange(true)) return;
    std::packaged_task<void()> task([state = state_, &library = library_] {
      // A collective that is being enqueued sees the flag and gets out of the way.
      const std::unique_lock call_lock(state->call_mutex, kAbortPatience / 2);
      const std::scoped_lock lock(state->comm_mutex);
      library.ncclCommAbort(state->comm);
    });
    std::future<void> done = task.get_future();
    std::thread(std::move(task)).detach();
    if (done.wait_for(kAbortPatience) != std::future_status::ready) {
      spdlog::error("NCCL on rank {} does not abort; going on without it", rank());
    }
  }

  Communicator& host_;
  const NcclLibrary& library_;
  CUstream_st* (*native_stream_)(Stream&);
  std::string transport_;
  int uncaught_exceptions_ = std::uncaught_exceptions();
  std::shared_ptr<NcclState> state_ = std::make_shared<NcclState>();
};

}  // namespace

std::unique_ptr<Communicator> MakeNcclCommunicator(Communicator& host, const NcclLibrary& library,
                                                   const NcclOptions& options) {
  return std::make_unique<NcclCommunicator>(host, library, options);
}

}  // namespace kvfold
