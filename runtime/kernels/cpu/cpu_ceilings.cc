#include "runtime/kernels/cpu/cpu_ceilings.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "comm/base/median.h"
#include "comm/base/rounding.h"
#include "comm/base/stopwatch.h"
#include "runtime/kernels/cpu/onednn.h"

namespace kvfold::cpu {
namespace {

// The median of several short rounds counts, as it does for what is held against it: on a shared
// host the best round is a quiet moment that no work of seconds gets.
constexpr double kRoundSeconds = 0.06;
constexpr int kRounds = 5;
constexpr int64_t kCopyBytes = int64_t{128} << 20;

std::byte* Aligned(std::vector<std::byte>& bytes) {
  const auto at = reinterpret_cast<uintptr_t>(bytes.data());
  return bytes.data() + (64 - at % 64) % 64;
}

// One thread's product: its own input, weights and output.
struct Product {
  std::vector<std::byte> x, packed;
  std::vector<float> y;
};

double ProductRate(ThreadPool& pool, onednn::MatmulCache& matmuls, DType dtype, LinearShape whole,
                   int64_t rows) {
  const int64_t n_threads = pool.size();
  const int64_t n_out = std::max<int64_t>(64, RoundUp<int64_t>(whole.n_out / n_threads, 64));
  const int64_t n_in = whole.n_in;
  std::vector<Product> products(static_cast<size_t>(n_threads));
  const std::vector<std::byte> plain(static_cast<size_t>(n_out * n_in * DTypeBytes(dtype)),
                                     std::byte{0});
  for (Product& product : products) {
    product.x.resize(static_cast<size_t>(rows * n_in * DTypeBytes(dtype)) + 64);
    product.packed.resize(static_cast<size_t>(matmuls.PackedBytes(n_out, n_in)) + 64);
    product.y.resize(static_cast<size_t>(rows * n_out));
    matmuls.Pack(n_out, n_in, plain.data(), Aligned(product.packed));
  }
  onednn::Matmul& matmul = matmuls.Get({n_out, n_in, rows, n_in});
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> rates(products.size());
    pool.ParallelFor(n_threads, [&](int64_t item, int worker) {
      Product& product = products[static_cast<size_t>(item)];
      int64_t calls = 0;
      const Stopwatch stopwatch;
      double seconds = 0.0;
      while (seconds < kRoundSeconds) {
        matmul.Run(worker, Aligned(product.x), Aligned(product.packed), product.y.data());
        ++calls;
        seconds = stopwatch.seconds();
      }
      rates[static_cast<size_t>(item)] =
          2.0 * static_cast<double>(rows * n_out * n_in) * static_cast<double>(calls) / seconds;
    });
    double rate = 0.0;
    for (const double r : rates) rate += r;
    rounds.push_back(rate);
  }
  return Median(rounds);
}

double CopyRate(ThreadPool& pool) {
  std::vector<std::byte> from(static_cast<size_t>(kCopyBytes), std::byte{1});
  std::vector<std::byte> to(static_cast<size_t>(kCopyBytes), std::byte{2});
  const int64_t n_threads = pool.size();
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const Stopwatch stopwatch;
    pool.ParallelFor(n_threads, [&](int64_t item, int) {
      const int64_t begin = kCopyBytes * item / n_threads;
      const int64_t end = kCopyBytes * (item + 1) / n_threads;
      std::memcpy(to.data() + begin, from.data() + begin, static_cast<size_t>(end - begin));
    });
    rounds.push_back(2.0 * static_cast<double>(kCopyBytes) / stopwatch.seconds());
  }
  return Median(rounds);
}

}  // namespace

Ceilings MeasureCpuCeilings(ThreadPool& pool, DType dtype, std::span<const LinearShape> shapes,
                            int64_t rows) {
  onednn::MatmulCache matmuls(dtype, pool.size());
  Ceilings ceilings;
  for (const LinearShape& shape : shapes) {
    if (shape.n_out == 0 || shape.n_in == 0) continue;
    ceilings.product_flop_per_s =
        std::max(ceilings.product_flop_per_s, ProductRate(pool, matmuls, dtype, shape, rows));
  }
  ceilings.copy_bytes_per_s = CopyRate(pool);
  return ceilings;
}

}  // namespace kvfold::cpu
