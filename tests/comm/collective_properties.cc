#include "tests/comm/collective_properties.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace kvfold {
namespace {

struct NoStream : Stream {
  void Synchronize() override {}
};

constexpr int64_t kSizes[] = {0, 1, 2, 63, 64, 65, 4095, 4096, 4097, 100003};

// A hash of (rank, element, salt): each rank can compute what every other rank brings.
uint32_t Hash(uint32_t rank, uint32_t element, uint32_t salt) {
  uint32_t h = rank * 0x9e3779b9u ^ element * 0x85ebca6bu ^ salt * 0xc2b2ae35u;
  for (int i = 0; i < 2; ++i) {
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
  }
  return h;
}

// Integers below 2^12: sums of a few are exact in f32, in any order.
float ExactValue(int rank, int64_t element, uint32_t salt) {
  return static_cast<float>(Hash(rank, element, salt) % 8191) - 4095.0f;
}

// Of very different magnitudes and both signs, so that another order of the sum gives other bits;
// and zeros of both signs: -0 summed from a running +0 would lose its sign.
float InexactValue(int rank, int64_t element, uint32_t salt) {
  const uint32_t h = Hash(rank, element, salt);
  if (element % 17 == 3) return -0.0f;
  const float mantissa = 1.0f + static_cast<float>(h >> 9) * 0x1p-23f;
  return std::ldexp(h & 1 ? mantissa : -mantissa, static_cast<int>((h >> 1) % 25) - 12);
}

using Value = float (*)(int rank, int64_t element, uint32_t salt);

std::vector<float> Fill(Value value, int rank, int64_t n, uint32_t salt, int64_t first = 0) {
  std::vector<float> data(n);
  for (int64_t i = 0; i < n; ++i) data[i] = value(rank, first + i, salt);
  return data;
}

// The reference: one element after the other, ranks from `begin` on in steps of `step`.
std::vector<float> Sum(Value value, int size, int64_t n, uint32_t salt, bool reversed = false) {
  std::vector<float> sum(n);
  for (int64_t i = 0; i < n; ++i) {
    sum[i] = value(reversed ? size - 1 : 0, i, salt);
    for (int r = 1; r < size; ++r) {
      const volatile float next = sum[i] + value(reversed ? size - 1 - r : r, i, salt);
      sum[i] = next;  // volatile: each addition is rounded to f32
    }
  }
  return sum;
}

std::string Differs(const std::vector<float>& got, const std::vector<float>& want,
                    const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(want[i])) {
      return fmt::format("{}: [{}] got {:.9g}, want the bits of {:.9g}; ", what, i, got[i],
                         want[i]);
    }
  }
  return {};
}

TensorView Row(std::vector<float>& data) {
  return F32View(data.data(), 1, static_cast<int64_t>(data.size()));
}

std::string ExactSums(Communicator& c) {
  NoStream stream;
  std::string wrong;
  uint32_t salt = 1;
  for (const int64_t n : kSizes) {
    std::vector<float> data = Fill(ExactValue, c.rank(), n, ++salt);
    c.AllReduceSum(Row(data), stream);
    std::vector<float> want(n);
    for (int64_t i = 0; i < n; ++i) {
      int64_t sum = 0;
      for (int r = 0; r < c.size(); ++r) sum += std::llround(ExactValue(r, i, salt));
      want[i] = static_cast<float>(sum);
    }
    wrong += Differs(data, want, fmt::format("{} elements", n));
  }
  return wrong;
}

std::string InexactSumsInRankOrder(Communicator& c) {
  NoStream stream;
  std::string wrong;
  uint32_t salt = 100;
  for (const int64_t n : kSizes) {
    std::vector<float> data = Fill(InexactValue, c.rank(), n, ++salt);
    c.AllReduceSum(Row(data), stream);
    const std::vector<float> want = Sum(InexactValue, c.size(), n, salt);
    wrong += Differs(data, want, fmt::format("{} elements", n));
    if (c.size() >= 3 && n >= 4095 &&
        Differs(want, Sum(InexactValue, c.size(), n, salt, true), "").empty()) {
      wrong += "the values do not tell one order from another; ";
    }
  }
  return wrong;
}

std::string ElementBitsDoNotDependOnTheRest(Communicator& c) {
  NoStream stream;
  std::string wrong;
  constexpr int64_t kWhole = 70001;
  std::vector<float> whole = Fill(InexactValue, c.rank(), kWhole, 7);
  c.AllReduceSum(Row(whole), stream);
  for (const int64_t begin : {0, 1, 31, 4096, 35000, 65535}) {
    for (const int64_t n : {1, 5, 64, 1000, 4466}) {
      std::vector<float> part = Fill(InexactValue, c.rank(), n, 7, begin);
      c.AllReduceSum(Row(part), stream);
      wrong += Differs(part, {whole.begin() + begin, whole.begin() + begin + n},
                       fmt::format("elements [{}, {})", begin, begin + n));
    }
  }
  return wrong;
}

std::string TakesMatrixViews(Communicator& c) {
  NoStream stream;
  std::vector<float> data = Fill(ExactValue, c.rank(), 7 * 33, 8);
  const std::vector<float> before = data;
  c.AllReduceSum(F32View(data.data(), 7, 33).Rows(2, 5), stream);
  std::vector<float> want = Sum(ExactValue, c.size(), 7 * 33, 8);
  std::copy_n(before.begin(), 2 * 33, want.begin());
  std::copy(before.begin() + 5 * 33, before.end(), want.begin() + 5 * 33);
  return Differs(data, want, "rows [2, 5) of 7");
}

std::string SumsMayBeAwaitedLater(Communicator& c) {
  NoStream stream;
  std::string wrong;
  for (const int64_t n : {1, 100, 50000}) {
    std::vector<float> a = Fill(InexactValue, c.rank(), n, 21);
    std::vector<float> b = Fill(InexactValue, c.rank(), n + 1, 22);
    std::vector<float> dropped = Fill(InexactValue, c.rank(), n, 23);
    std::vector<float> replaced = Fill(InexactValue, c.rank(), n, 24);
    PendingCollective first = c.StartAllReduceSum(Row(a), stream);
    PendingCollective second = c.StartAllReduceSum(Row(b), stream);
    second.Await();
    c.Barrier();
    first.Await();
    first.Await();  // nothing is left to await
    { const PendingCollective third = c.StartAllReduceSum(Row(dropped), stream); }
    first = c.StartAllReduceSum(Row(replaced), stream);
    first = PendingCollective();
    wrong += Differs(a, Sum(InexactValue, c.size(), n, 21), "awaited second");
    wrong += Differs(b, Sum(InexactValue, c.size(), n + 1, 22), "awaited first");
    wrong += Differs(dropped, Sum(InexactValue, c.size(), n, 23), "never awaited");
    wrong += Differs(replaced, Sum(InexactValue, c.size(), n, 24), "replaced");
  }
  return wrong;
}

// Ranks that run ahead must not overwrite what slower ranks still read.
std::string ManySumsInARow(Communicator& c) {
  NoStream stream;
  std::string wrong;
  for (uint32_t round = 0; round < 400; ++round) {
    const int64_t n = Hash(0, round, 31) % (round % 10 == 0 ? 40000 : 300);
    std::vector<float> data = Fill(InexactValue, c.rank(), n, round);
    if (Hash(c.rank(), round, 32) % 5 == 0) std::this_thread::yield();
    c.AllReduceSum(Row(data), stream);
    const std::vector<float> want = Sum(InexactValue, c.size(), n, round);
    if (wrong.empty()) wrong = Differs(data, want, fmt::format("round {}", round));
  }
  return wrong;
}

std::string GathersInRankOrder(Communicator& c) {
  NoStream stream;
  std::string wrong;
  for (const int64_t n : {0, 1, 3, 64, 1000, 30011}) {
    const std::vector<float> in = Fill(InexactValue, c.rank(), n, 41);
    std::vector<float> out(n * c.size(), -1.0f);
    std::vector<float> want;
    for (int r = 0; r < c.size(); ++r) {
      const std::vector<float> part = Fill(InexactValue, r, n, 41);
      want.insert(want.end(), part.begin(), part.end());
    }
    c.AllGather(F32View(in.data(), 1, n), F32View(out.data(), c.size(), n), stream);
    wrong += Differs(out, want, fmt::format("{} elements", n));
    std::fill(out.begin(), out.end(), -1.0f);
    std::copy(in.begin(), in.end(), out.begin() + c.rank() * n);
    const TensorView place = F32View(out.data() + c.rank() * n, 1, n);
    c.AllGather(place, F32View(out.data(), c.size(), n), stream);
    wrong += Differs(out, want, fmt::format("{} elements in place", n));
  }
  return wrong;
}

std::string GathersEveryType(Communicator& c) {
  NoStream stream;
  std::string wrong;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    constexpr int64_t kElements = 77;
    const int64_t bytes = kElements * DTypeBytes(dtype);
    const std::vector<uint8_t> in(bytes, static_cast<uint8_t>(c.rank() + 1));
    std::vector<uint8_t> out(bytes * c.size());
    c.AllGather({in.data(), dtype, 7, 11, 11}, {out.data(), dtype, 7 * c.size(), 11, 11}, stream);
    for (int64_t i = 0; i < std::ssize(out); ++i) {
      if (out[i] != i / bytes + 1) wrong = fmt::format("{}: byte {}; ", DTypeName(dtype), i);
    }
  }
  return wrong;
}

std::vector<std::byte> Bytes(int rank, int64_t n, uint32_t salt) {
  std::vector<std::byte> bytes(n);
  for (int64_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(Hash(rank, i, salt));
  return bytes;
}

std::string BroadcastsFromEveryRoot(Communicator& c) {
  std::string wrong;
  for (int root = 0; root < c.size(); ++root) {
    for (const int64_t n : {0, 1, 17, 4096, 1 << 20}) {
      std::vector<std::byte> bytes = Bytes(c.rank(), n, 51);
      c.BroadcastBytes(bytes, root);
      if (bytes != Bytes(root, n, 51)) wrong += fmt::format("{} bytes from {}; ", n, root);
    }
  }
  return wrong;
}

std::string GathersBytes(Communicator& c) {
  std::string wrong;
  for (const int64_t n : {0, 1, 17, 4096, 200003}) {
    const std::vector<std::byte> in = Bytes(c.rank(), n, 61);
    std::vector<std::byte> out(n * c.size());
    c.AllGatherBytes(in, out);
    c.Barrier();
    std::vector<std::byte> want;
    for (int r = 0; r < c.size(); ++r) {
      const std::vector<std::byte> part = Bytes(r, n, 61);
      want.insert(want.end(), part.begin(), part.end());
    }
    if (out != want) wrong += fmt::format("{} bytes; ", n);
  }
  return wrong;
}

template <typename Call>
std::string ExpectShapeError(const char* what, Call&& call) {
  try {
    call();
  } catch (const ShapeError&) {
    return {};
  }
  return fmt::format("{} is not refused; ", what);
}

std::string RefusesViewsThatDoNotFit(Communicator& c) {
  NoStream stream;
  std::vector<float> data(64 * c.size() + 1, 1.0f);
  float* const p = data.data();
  std::string wrong;
  wrong += ExpectShapeError("a sum of what the transport does not sum", [&] {
    c.AllReduceSum({p, c.SumsBf16() ? DType::kI8 : DType::kBF16, 1, 4, 4}, stream);
  });
  wrong += ExpectShapeError("a sum with a stride", [&] {
    c.AllReduceSum({p, DType::kF32, 2, 4, 5}, stream);
  });
  wrong += ExpectShapeError("a negative dim", [&] {
    c.AllReduceSum({p, DType::kF32, -1, 4, 4}, stream);
  });
  const ConstTensorView in = F32View(p, 1, 4);
  wrong += ExpectShapeError("a gather that is too wide",
                            [&] { c.AllGather(in, F32View(p, 1, 4 * c.size() + 1), stream); });
  wrong += ExpectShapeError("a gather of two types", [&] {
    c.AllGather(in, {p, DType::kI8, 1, 4 * c.size(), 4 * c.size()}, stream);
  });
  wrong += ExpectShapeError("a root beyond the group", [&] { c.BroadcastBytes({}, c.size()); });
  wrong += ExpectShapeError("a negative root", [&] { c.BroadcastBytes({}, -1); });
  std::vector<std::byte> bytes(3 * c.size() + 1);
  wrong += ExpectShapeError("bytes that do not fit",
                            [&] { c.AllGatherBytes(std::span(bytes).first(3), bytes); });
  // And the group goes on.
  std::vector<float> sum = Fill(ExactValue, c.rank(), 9, 71);
  c.AllReduceSum(Row(sum), stream);
  return wrong + Differs(sum, Sum(ExactValue, c.size(), 9, 71), "afterwards");
}

constexpr CollectiveProperty kProperties[] = {
    {"ExactSums", ExactSums},
    {"InexactSumsInRankOrder", InexactSumsInRankOrder},
    {"ElementBitsDoNotDependOnTheRest", ElementBitsDoNotDependOnTheRest},
    {"TakesMatrixViews", TakesMatrixViews},
    {"SumsMayBeAwaitedLater", SumsMayBeAwaitedLater},
    {"ManySumsInARow", ManySumsInARow},
    {"GathersInRankOrder", GathersInRankOrder},
    {"GathersEveryType", GathersEveryType},
    {"BroadcastsFromEveryRoot", BroadcastsFromEveryRoot},
    {"GathersBytes", GathersBytes},
    {"RefusesViewsThatDoNotFit", RefusesViewsThatDoNotFit},
};

}  // namespace

std::span<const CollectiveProperty> CollectiveProperties() { return kProperties; }

}  // namespace kvfold
