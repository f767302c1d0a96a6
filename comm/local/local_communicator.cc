#include <cstring>
#include <memory>
#include <vector>

#include "comm/collective_shapes.h"
#include "comm/communicator.h"
#include "comm/local/local_group.h"
#include "comm/local/local_state.h"
#include "comm/rank_order_sum.h"

namespace kvfold {
namespace {

using internal::LocalCall;
using internal::LocalState;

constexpr std::string_view kAllReduceSum = "all-reduce";
constexpr std::string_view kAllGather = "all-gather";
constexpr std::string_view kBroadcastBytes = "broadcast of bytes";
constexpr std::string_view kAllGatherBytes = "all-gather of bytes";
constexpr std::string_view kBarrier = "barrier";

// Each rank sums its share of the elements over all ranks' views and writes the sum into all of
// them: no element is read or written by two ranks, so no second copy is needed.
class PendingLocalSum : public PendingCollective::State {
 public:
  PendingLocalSum(std::shared_ptr<LocalState> state, int rank, TensorView view)
      : state_(std::move(state)), rank_(rank), view_(view) {}

  void Await() override {
    const int size = state_->size();
    std::string problem = internal::AllReduceProblem(view_);
    const int64_t n_elements = problem.empty() ? view_.elements() : 0;
    state_->Meet(rank_, {.operation = kAllReduceSum,
                         .amount = n_elements,
                         .out = view_.data,
                         .problem = std::move(problem)});
    const ElementRange share = ShareOfElements(n_elements, rank_, size);
    const int64_t share_elements = share.end - share.begin;
    if (share_elements > 0) {
      std::vector<const float*> inputs;
      for (int rank = 0; rank < size; ++rank) inputs.push_back(ViewOf(rank) + share.begin);
      float* const sum = ViewOf(rank_) + share.begin;
      SumInRankOrder(inputs, share_elements, sum);
      for (int rank = 0; rank < size; ++rank) {
        if (rank != rank_) {
          std::memcpy(ViewOf(rank) + share.begin, sum, share_elements * sizeof(float));
        }
      }
    }
    state_->Leave(rank_);
  }

 private:
  float* ViewOf(int rank) const { return static_cast<float*>(state_->call(rank).out); }

  std::shared_ptr<LocalState> state_;
  int rank_;
  TensorView view_;
};

class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<LocalState> state, int rank)
      : state_(std::move(state)), rank_(rank) {}
  ~LocalCommunicator() override { state_->MarkLeft(rank_); }

  int rank() const override { return rank_; }
  int size() const override { return state_->size(); }
  std::string transport() const override { return "local"; }

  PendingCollective StartAllReduceSum(TensorView view, Stream&) override {
    return PendingCollective(std::make_unique<PendingLocalSum>(state_, rank_, view));
  }

  void AllGather(ConstTensorView in, TensorView out, Stream&) override {
    std::string problem = internal::AllGatherProblem(in, out, size());
    const int64_t bytes = problem.empty() ? in.elements() * DTypeBytes(in.dtype) : 0;
    Gather(kAllGather, in.data, bytes, out.data, std::move(problem));
  }

  void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) override {
    Gather(kAllGatherBytes, in.data(), static_cast<int64_t>(in.size()), out.data(),
           internal::AllGatherBytesProblem(in, out, size()));
  }

  void BroadcastBytes(std::span<std::byte> bytes, int root) override {
    state_->Meet(rank_, {.operation = kBroadcastBytes,
                         .amount = static_cast<int64_t>(bytes.size()),
                         .root = root,
                         .in = bytes.data(),
                         .problem = internal::RootProblem(root, size())});
    if (rank_ != root && !bytes.empty()) {
      std::memcpy(bytes.data(), state_->call(root).in, bytes.size());
    }
    state_->Leave(rank_);
  }

  void Barrier() override {
    state_->Meet(rank_, {.operation = kBarrier});
    state_->Leave(rank_);
  }

  void Abort(const std::string& reason, int) override { state_->Abort(reason); }

  void Close() override { state_->MarkLeft(rank_); }

 private:
  void Gather(std::string_view operation, const void* in, int64_t bytes, void* out,
              std::string problem) {
    state_->Meet(
        rank_, {.operation = operation, .amount = bytes, .in = in, .problem = std::move(problem)});
    for (int rank = 0; bytes > 0 && rank < size(); ++rank) {
      std::byte* const place = static_cast<std::byte*>(out) + rank * bytes;
      // A rank's input may already lie at its place in the output; others read it there.
      if (place != state_->call(rank).in) std::memcpy(place, state_->call(rank).in, bytes);
    }
    state_->Leave(rank_);
  }

  std::shared_ptr<LocalState> state_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int size) {
  KVFOLD_CHECK(size >= 1, "size", size);
  const auto state = std::make_shared<LocalState>(size);
  std::vector<std::unique_ptr<Communicator>> group;
  for (int rank = 0; rank < size; ++rank) {
    group.push_back(std::make_unique<LocalCommunicator>(state, rank));
  }
  return group;
}

}  // namespace kvfold
