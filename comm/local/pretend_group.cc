#include "comm/local/pretend_group.h"

#include <cstring>

#include "comm/collective_shapes.h"
#include "comm/error.h"

namespace kvfold {
namespace {

void Refuse(const std::string& problem) {
  if (!problem.empty()) throw ShapeError(problem);
}

class PretendCommunicator : public Communicator {
 public:
  explicit PretendCommunicator(int size) : size_(size) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  std::string transport() const override { return "pretended"; }
  bool SumsBf16() const override { return true; }

  PendingCollective StartAllReduceSum(TensorView view, Stream&) override {
    Refuse(internal::AllReduceProblem(view, /*bf16=*/true));
    return PendingCollective();
  }
  void AllGather(ConstTensorView in, TensorView out, Stream&) override {
    Refuse(internal::AllGatherProblem(in, out, size_));
  }
  void BroadcastBytes(std::span<std::byte>, int root) override {
    Refuse(internal::RootProblem(root, size_));
  }
  void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) override {
    Refuse(internal::AllGatherBytesProblem(in, out, size_));
    if (in.empty()) return;
    for (int rank = 0; rank < size_; ++rank) {
      std::memmove(out.data() + static_cast<size_t>(rank) * in.size(), in.data(), in.size());
    }
  }
  void Barrier() override {}
  void Abort(const std::string& reason, int) override { throw CommError(reason); }
  void Close() override {}

 private:
  int size_;
};

}  // namespace

std::unique_ptr<Communicator> MakePretendCommunicator(int size) {
  KVFOLD_CHECK(size >= 1, "size", size);
  return std::make_unique<PretendCommunicator>(size);
}

}  // namespace kvfold
