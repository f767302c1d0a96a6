#include "comm/staged/staged_communicator.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "comm/collective_shapes.h"
#include "comm/error.h"

namespace kvfold {
namespace {

float F32OfBf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// To the nearest, ties to even; a NaN stays one.
uint16_t Bf16OfF32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// The host communicator's stream: its work is done when a call returns.
struct HostStream : Stream {
  void Synchronize() override {}
};

constexpr int64_t kLineBytes = 64;

class StagedCommunicator : public Communicator {
 public:
  StagedCommunicator(Communicator& host, std::unique_ptr<DeviceTransfer> transfer)
      : host_(host),
        transfer_(std::move(transfer)),
        staging_(transfer_->staging()),
        half_bytes_(static_cast<int64_t>(staging_.size()) / 2 / kLineBytes * kLineBytes) {
    KVFOLD_CHECK(half_bytes_ > 0, "staging", staging_.size());
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string transport() const override {
    return size() == 1 ? "local" : fmt::format("staged over {}", host_.transport());
  }
  bool SumsBf16() const override { return true; }
  RankProgress& progress() override { return host_.progress(); }

  PendingCollective StartAllReduceSum(TensorView view, Stream& stream) override {
    Require("all-reduce", internal::AllReduceProblem(view, /*bf16=*/true));
    if (size() == 1) return {};
    // Two pieces in turn: while the hosts add one, the next is on its way to them.
    const int64_t element_bytes = DTypeBytes(view.dtype);
    const int64_t piece_elements = half_bytes_ / element_bytes;
    const int64_t n_elements = view.elements();
    auto* const device = static_cast<std::byte*>(view.data);
    const auto fetch = [&](int64_t begin, int turn) {
      const int64_t n = std::min(piece_elements, n_elements - begin);
      if (n > 0) {
        transfer_->StartToHost(device + begin * element_bytes, Half(turn), n * element_bytes,
                               stream);
      }
    };
    fetch(0, 0);
    int turn = 0;
    for (int64_t begin = 0; begin < n_elements; begin += piece_elements, turn ^= 1) {
      const int64_t n = std::min(piece_elements, n_elements - begin);
      transfer_->AwaitToHost();
      fetch(begin + piece_elements, turn ^ 1);
      SumOnHosts(Half(turn), n, view.dtype);
      transfer_->ToDevice(Half(turn), device + begin * element_bytes, n * element_bytes, stream);
    }
    return {};  // nothing is left to await but the stream's order
  }

  void AllGather(ConstTensorView in, TensorView out, Stream& stream) override {
    Require("all-gather", internal::AllGatherProblem(in, out, size()));
    const int64_t bytes = in.elements() * DTypeBytes(in.dtype);
    const auto* const from = static_cast<const std::byte*>(in.data);
    auto* const to = static_cast<std::byte*>(out.data);
    if (size() == 1) {
      if (from != to && bytes > 0) transfer_->Within(from, to, bytes, stream);
      return;
    }
    // A piece of every rank at a time: this rank's first, then room for all of them.
    const int64_t piece_bytes = static_cast<int64_t>(staging_.size()) / (size() + 1);
    KVFOLD_CHECK(piece_bytes > 0, "staging", staging_.size(), "ranks", size());
    for (int64_t begin = 0; begin < bytes; begin += piece_bytes) {
      const int64_t n = std::min(piece_bytes, bytes - begin);
      transfer_->StartToHost(from + begin, staging_.data(), n, stream);
      transfer_->AwaitToHost();
      const std::span<std::byte> all =
          staging_.subspan(static_cast<size_t>(piece_bytes), static_cast<size_t>(size() * n));
      host_.AllGatherBytes(staging_.first(static_cast<size_t>(n)), all);
      for (int r = 0; r < size(); ++r) {
        transfer_->ToDevice(all.data() + r * n, to + r * bytes + begin, n, stream);
      }
    }
  }

  void BroadcastBytes(std::span<std::byte> bytes, int root) override {
    host_.BroadcastBytes(bytes, root);
  }
  void AllGatherBytes(std::span<const std::byte> in, std::span<std::byte> out) override {
    host_.AllGatherBytes(in, out);
  }
  void Barrier() override { host_.Barrier(); }
  void Abort(const std::string& reason, int exit_code) override { host_.Abort(reason, exit_code); }
  void Close() override {}

 private:
  std::byte* Half(int turn) const { return staging_.data() + turn * half_bytes_; }

  void Require(const char* operation, const std::string& problem) const {
    if (!problem.empty()) {
      throw ShapeError(fmt::format("{} on rank {}: {}", operation, rank(), problem));
    }
  }

  void SumOnHosts(std::byte* piece, int64_t n_elements, DType dtype) {
    if (dtype == DType::kF32) {
      host_.AllReduceSum(F32View(reinterpret_cast<float*>(piece), 1, n_elements), host_stream_);
      return;
    }
    wide_.resize(static_cast<size_t>(n_elements));
    auto* const narrow = reinterpret_cast<uint16_t*>(piece);
    for (int64_t i = 0; i < n_elements; ++i) wide_[static_cast<size_t>(i)] = F32OfBf16(narrow[i]);
    host_.AllReduceSum(F32View(wide_.data(), 1, n_elements), host_stream_);
    for (int64_t i = 0; i < n_elements; ++i) narrow[i] = Bf16OfF32(wide_[static_cast<size_t>(i)]);
  }

  Communicator& host_;
  std::unique_ptr<DeviceTransfer> transfer_;
  std::span<std::byte> staging_;
  int64_t half_bytes_;
  HostStream host_stream_;
  std::vector<float> wide_;  // a bf16 piece on its way through the sum, kept for its memory
};

}  // namespace

std::unique_ptr<Communicator> MakeStagedCommunicator(Communicator& host,
                                                     std::unique_ptr<DeviceTransfer> transfer) {
  return std::make_unique<StagedCommunicator>(host, std::move(transfer));
}

}  // namespace kvfold
