// Kernels that work row by row: AddRmsNorm, GatedActivation, SoftCap, LogitStats, ArgMax.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tests/runtime/kernels/backend.h"
#include "tests/runtime/kernels/reference.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double u = kRoundoffF32;

class RowsTest : public KernelsTest {
 protected:
  DType dtype() { return kernels().activation_dtype(); }

  struct NormResult {
    std::vector<float> residual, out;
  };
  // delta, delta_weight: empty for none.
  NormResult Norm(int64_t rows, int64_t dim, std::span<const float> residual,
                  std::span<const float> delta, std::span<const float> weight, float eps,
                  int64_t more_stride = 0, std::span<const float> delta_weight = {}) {
    Matrix r(backend(), DType::kF32, rows, dim, dim + more_stride);
    Matrix d(backend(), DType::kF32, rows, dim, dim + 2 * more_stride);
    Matrix w(backend(), DType::kF32, 1, dim);
    Matrix dw(backend(), DType::kF32, 1, dim);
    Matrix out(backend(), dtype(), rows, dim, dim + more_stride);
    r.Set(residual);
    w.Set(weight);
    if (!delta.empty()) d.Set(delta);
    if (!delta_weight.empty()) dw.Set(delta_weight);
    kernels().AddRmsNorm(r.view(), delta.empty() ? ConstTensorView() : d.view(),
                         delta_weight.empty() ? nullptr : dw.f32(), w.f32(), eps, out.view());
    backend().device().stream().Synchronize();
    EXPECT_TRUE(r.OnlyWrote(rows));
    EXPECT_TRUE(out.OnlyWrote(rows));
    return {r.Get(), out.Get()};
  }

  std::vector<float> Gate(int64_t rows, int64_t ffn, std::span<const float> gate_up,
                          int64_t more_stride = 0, Activation activation = Activation::kSilu) {
    Matrix in(backend(), DType::kF32, rows, 2 * ffn, 2 * ffn + more_stride);
    Matrix out(backend(), dtype(), rows, ffn, ffn + more_stride);
    in.Set(gate_up);
    kernels().GatedActivation(in.view(), activation, out.view());
    backend().device().stream().Synchronize();
    EXPECT_TRUE(out.OnlyWrote(rows));
    return out.Get();
  }

  std::vector<RowStats> Stats(int64_t rows, int64_t cols, std::span<const float> logits,
                              std::span<const int64_t> targets, int64_t more_stride = 0) {
    Matrix in(backend(), DType::kF32, rows, cols, cols + more_stride);
    in.Set(logits);
    std::vector<RowStats> stats(static_cast<size_t>(rows), RowStats{kNan, kNan, kNan});
    kernels().LogitStats(in.view(), targets, stats);
    backend().device().stream().Synchronize();
    return stats;
  }

  std::vector<ArgMaxLogit> Largest(int64_t rows, int64_t cols, std::span<const float> logits,
                                   int64_t more_stride = 0) {
    Matrix in(backend(), DType::kF32, rows, cols, cols + more_stride);
    in.Set(logits);
    std::vector<ArgMaxLogit> largest(static_cast<size_t>(rows), ArgMaxLogit{kNan, -1});
    kernels().ArgMax(in.view(), largest);
    backend().device().stream().Synchronize();
    return largest;
  }
};

TEST_P(RowsTest, CopyFromHostKeepsEveryBit) {
  std::mt19937_64 random(8);
  for (const int64_t rows : {0, 1, 9}) {
    for (const int64_t cols : {1, 16, 577}) {
      const std::vector<float> values = Normals(random, rows * cols);
      for (const int64_t more_stride : {0, 5}) {
        std::vector<float> host(static_cast<size_t>(rows * (cols + more_stride)), kNan);
        for (int64_t t = 0; t < rows; ++t) {
          std::copy_n(values.begin() + t * cols, cols, host.begin() + t * (cols + more_stride));
        }
        Matrix out(backend(), DType::kF32, rows, cols, cols + 2 * more_stride);
        kernels().CopyFromHost({host.data(), DType::kF32, rows, cols, cols + more_stride},
                               out.view());
        backend().device().stream().Synchronize();
        EXPECT_TRUE(SameBits(out.Get(), values));
        EXPECT_TRUE(out.OnlyWrote(rows));
      }
    }
  }
}

TEST_P(RowsTest, AddRmsNormEqualsReference) {
  std::mt19937_64 random(1);
  for (const int64_t dim : {1, 7, 15, 16, 17, 64, 576, 577, 4096}) {
    for (const int64_t rows : {0, 1, 9, 64}) {
      for (const bool with_delta : {false, true}) {
        for (const float eps : {1e-6f, 1e-1f}) {
          SCOPED_TRACE(testing::Message() << "dim " << dim << ", rows " << rows << ", delta "
                                          << with_delta << ", eps " << eps);
          const std::vector<float> residual = Normals(random, rows * dim, 3.0f);
          const std::vector<float> delta = Normals(random, with_delta ? rows * dim : 0);
          const std::vector<float> weight = Normals(random, dim);
          std::vector<float> sums = residual;
          for (size_t i = 0; i < delta.size(); ++i) sums[i] += delta[i];
          std::vector<double> want, bounds;
          for (int64_t t = 0; t < rows; ++t) {
            const auto row =
                std::span(sums).subspan(static_cast<size_t>(t * dim), static_cast<size_t>(dim));
            double squares = 0;
            for (const float x : row) squares += static_cast<double>(x) * x;
            const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + eps);
            for (size_t d = 0; d < row.size(); ++d) {
              want.push_back(weight[d] * (row[d] * factor));
              // A root halves the relative error of the sum of squares; then a mean, an eps, a
              // root, a fraction and two products.
              const double error = std::abs(want.back()) * (SumError(dim + 1) / 2 + 6 * u);
              bounds.push_back(error + StoreError(dtype(), want.back(), error));
            }
          }
          const NormResult got =
              Norm(rows, dim, residual, delta, weight, eps, dim % 2 == 0 ? 16 : 0);
          EXPECT_TRUE(SameBits(got.residual, sums));  // one addition has one result
          EXPECT_TRUE(WithinBounds(got.out, want, bounds));
        }
      }
    }
  }
}

TEST_P(RowsTest, AddRmsNormNormsTheDeltaFirst) {
  std::mt19937_64 random(9);
  for (const int64_t dim : {1, 7, 16, 17, 576, 577, 4096}) {
    for (const int64_t rows : {1, 9}) {
      SCOPED_TRACE(testing::Message() << "dim " << dim << ", rows " << rows);
      const std::vector<float> residual = Normals(random, rows * dim, 3.0f);
      const std::vector<float> delta = Normals(random, rows * dim, 20.0f);
      const std::vector<float> weight = Normals(random, dim), delta_weight = Normals(random, dim);
      constexpr float kEps = 1e-6f;
      std::vector<double> sums, bounds, want, out_bounds;
      for (int64_t t = 0; t < rows; ++t) {
        double delta_squares = 0, squares = 0, squares_error = 0;
        for (int64_t d = 0; d < dim; ++d) {
          const double x = delta[static_cast<size_t>(t * dim + d)];
          delta_squares += x * x;
        }
        const double delta_factor = 1 / std::sqrt(delta_squares / static_cast<double>(dim) + kEps);
        for (int64_t d = 0; d < dim; ++d) {
          const auto i = static_cast<size_t>(t * dim + d);
          const double more = delta_weight[static_cast<size_t>(d)] * (delta[i] * delta_factor);
          sums.push_back(residual[i] + more);
          bounds.push_back(std::abs(more) * (SumError(dim + 1) / 2 + 6 * u) +
                           std::abs(sums.back()) * u);
          squares += sums.back() * sums.back();
          squares_error += 2 * std::abs(sums.back()) * bounds.back();
        }
        const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + kEps);
        for (int64_t d = 0; d < dim; ++d) {
          const auto i = static_cast<size_t>(t * dim + d);
          const double w = weight[static_cast<size_t>(d)];
          want.push_back(w * (sums[i] * factor));
          const double error =
              std::abs(want.back()) * (SumError(dim + 1) / 2 + squares_error / squares + 6 * u) +
              std::abs(w * factor) * bounds[i];
          out_bounds.push_back(error + StoreError(dtype(), want.back(), error));
        }
      }
      const NormResult got =
          Norm(rows, dim, residual, delta, weight, kEps, dim % 2 == 0 ? 16 : 0, delta_weight);
      EXPECT_TRUE(WithinBounds(got.residual, sums, bounds));
      EXPECT_TRUE(WithinBounds(got.out, want, out_bounds));
      for (int64_t t = 0; t < rows; ++t) {  // a row's bits are its own
        const auto row = [&](const std::vector<float>& from) {
          return std::span(from).subspan(static_cast<size_t>(t * dim), static_cast<size_t>(dim));
        };
        const NormResult one = Norm(1, dim, row(residual), row(delta), weight, kEps,
                                    dim % 2 == 0 ? 16 : 0, delta_weight);
        EXPECT_TRUE(SameBits(one.out, row(got.out))) << "row " << t;
      }
    }
  }
}

TEST_P(RowsTest, AddRmsNormOfZerosIsZero) {
  const std::vector<float> zeros(3 * 100, 0.0f), ones(100, 1.0f);
  EXPECT_TRUE(SameBits(Norm(3, 100, zeros, {}, ones, 1e-6f).out, zeros));
  // A small eps: its root is still far above what f32 flushes.
  EXPECT_TRUE(SameBits(Norm(3, 100, zeros, zeros, ones, 1e-12f).out, zeros));
}

TEST_P(RowsTest, AddRmsNormRowsKeepTheirBits) {
  std::mt19937_64 random(2);
  const int64_t rows = 35, dim = 579;
  const std::vector<float> residual = Normals(random, rows * dim),
                           delta = Normals(random, rows * dim);
  const std::vector<float> weight = Normals(random, dim);
  const NormResult all = Norm(rows, dim, residual, delta, weight, 1e-5f);
  for (const int n_threads : {1, 2, 3}) {
    UseThreads(n_threads);
    EXPECT_TRUE(SameBits(Norm(rows, dim, residual, delta, weight, 1e-5f).out, all.out));
    for (int64_t t = 0; t < rows; ++t) {
      const auto row = [&](const std::vector<float>& from) {
        return std::span(from).subspan(static_cast<size_t>(t * dim), static_cast<size_t>(dim));
      };
      const NormResult one = Norm(1, dim, row(residual), row(delta), weight, 1e-5f);
      EXPECT_TRUE(SameBits(one.out, row(all.out))) << "row " << t;
    }
  }
}

TEST_P(RowsTest, AddRmsNormLosesNoNan) {
  std::vector<float> residual(3 * 40, 1.0f);
  residual[40 + 39] = kNan;
  const std::vector<float> out = Norm(3, 40, residual, {}, std::vector<float>(40, 1.0f), 1e-6f).out;
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 40 == 1) << i;
}

// silu(x) up with silu(x) = x / (1 + exp(-x)). The exponential's argument is rounded twice, an
// error of at most 3 u |x| that reaches the result by the share exp(-x) / (1 + exp(-x)).
void ExpectGated(const std::vector<float>& got, std::span<const float> gate_up, int64_t rows,
                 int64_t ffn, DType dtype) {
  std::vector<double> want, bounds;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t j = 0; j < ffn; ++j) {
      const double gate = gate_up[static_cast<size_t>(t * 2 * ffn + j)];
      const double up = gate_up[static_cast<size_t>(t * 2 * ffn + ffn + j)];
      const double share = 1 / (1 + std::exp(gate));
      want.push_back(gate / (1 + std::exp(-gate)) * up);
      const double relative = kExpErrorF32 + 3 * u * std::min(std::abs(gate), 90.0);
      // Below -86 the exponential may be held: silu is then below 86 exp(-86) < 2^-117.
      const double error =
          std::abs(want.back()) * (relative * share + 4 * u) + 0x1p-117 * std::abs(up);
      bounds.push_back(error + StoreError(dtype, want.back(), error));
    }
  }
  EXPECT_TRUE(WithinBounds(got, want, bounds));
}

TEST_P(RowsTest, GatedActivationEqualsReference) {
  std::mt19937_64 random(3);
  for (const int64_t ffn : {1, 3, 15, 16, 17, 64, 1536, 1537}) {
    for (const int64_t rows : {0, 1, 9, 64}) {
      for (const float deviation : {0.01f, 1.0f, 30.0f}) {
        SCOPED_TRACE(testing::Message()
                     << "ffn " << ffn << ", rows " << rows << ", deviation " << deviation);
        const std::vector<float> gate_up = Normals(random, rows * 2 * ffn, deviation);
        ExpectGated(Gate(rows, ffn, gate_up, ffn % 2 == 0 ? 32 : 0), gate_up, rows, ffn, dtype());
      }
    }
  }
}

TEST_P(RowsTest, GatedActivationAtEveryMagnitude) {
  // Every gate stands once in a vector and once in a tail.
  std::vector<float> gates = {0.0f,  -0.0f,  1e-30f, -1e-30f, 0x1p-126f,
                              88.0f, -88.0f, 3e38f,  -3e38f};
  for (float x = -100.0f; x <= 100.0f; x += 0.5f) gates.push_back(x);
  for (float x = 128.0f; x < 1e38f; x *= 16) gates.insert(gates.end(), {x, -x});
  for (const float up : {1.0f, -0.7f, 1e-20f, 1e30f}) {
    for (const int64_t ffn : {int64_t{1}, static_cast<int64_t>(gates.size())}) {
      const int64_t rows = static_cast<int64_t>(gates.size()) / ffn;
      std::vector<float> gate_up;
      for (int64_t t = 0; t < rows; ++t) {
        gate_up.insert(gate_up.end(), gates.begin() + t * ffn, gates.begin() + (t + 1) * ffn);
        gate_up.insert(gate_up.end(), static_cast<size_t>(ffn), up);
      }
      if (std::abs(up) > 1) {  // a product beyond f32 is infinite in any implementation
        for (float& x : gate_up) x = x > 1e7f && x != up ? 1e7f : x;
      }
      SCOPED_TRACE(testing::Message() << "up " << up << ", ffn " << ffn);
      ExpectGated(Gate(rows, ffn, gate_up), gate_up, rows, ffn, dtype());
    }
  }
}

TEST_P(RowsTest, GatedActivationRowsKeepTheirBits) {
  std::mt19937_64 random(4);
  const int64_t rows = 35, ffn = 203;
  const std::vector<float> gate_up = Normals(random, rows * 2 * ffn, 5.0f);
  const std::vector<float> all = Gate(rows, ffn, gate_up);
  for (const int n_threads : {1, 2, 3}) {
    UseThreads(n_threads);
    EXPECT_TRUE(SameBits(Gate(rows, ffn, gate_up), all));
    for (int64_t t = 0; t < rows; ++t) {
      const auto one = Gate(1, ffn,
                            std::span(gate_up).subspan(static_cast<size_t>(t * 2 * ffn),
                                                       static_cast<size_t>(2 * ffn)));
      EXPECT_TRUE(SameBits(
          one, std::span(all).subspan(static_cast<size_t>(t * ffn), static_cast<size_t>(ffn))));
    }
  }
}

TEST_P(RowsTest, GatedActivationLosesNoNan) {
  for (const int64_t ffn : {int64_t{1}, int64_t{16}, int64_t{19}}) {
    for (const bool in_gate : {true, false}) {
      std::vector<float> gate_up(static_cast<size_t>(2 * ffn), 1.0f);
      gate_up[static_cast<size_t>(in_gate ? ffn - 1 : 2 * ffn - 1)] = kNan;
      const std::vector<float> out = Gate(1, ffn, gate_up);
      for (size_t j = 0; j < out.size(); ++j) EXPECT_EQ(std::isnan(out[j]), j + 1 == out.size());
    }
  }
}

// gelu(x) up with gelu(x) = x / (1 + exp(-z)), z = 2 sqrt(2 / pi) (x + 0.044715 x^3): z has the
// errors of some eight roundings, and reaches the result as silu's argument does.
TEST_P(RowsTest, GatedActivationOfGeluEqualsReference) {
  std::mt19937_64 random(10);
  std::vector<float> gates = {0.0f, -0.0f, 1e-30f, -1e-30f, 9.0f, -9.0f, 60.0f, -60.0f, 3e38f};
  for (float x = -14.0f; x <= 14.0f; x += 0.125f) gates.push_back(x);
  for (const float deviation : {0.01f, 1.0f, 10.0f}) {
    for (const float x : Normals(random, 300, deviation)) gates.push_back(x);
  }
  const auto n = static_cast<int64_t>(gates.size());
  const std::vector<float> ups = Normals(random, n, 0.3f);
  for (const int64_t ffn : {int64_t{1}, n}) {
    std::vector<float> gate_up;
    for (int64_t t = 0; t < n / ffn; ++t) {
      gate_up.insert(gate_up.end(), gates.begin() + t * ffn, gates.begin() + (t + 1) * ffn);
      gate_up.insert(gate_up.end(), ups.begin() + t * ffn, ups.begin() + (t + 1) * ffn);
    }
    std::vector<double> want, bounds;
    for (int64_t i = 0; i < n; ++i) {
      const double x = gates[static_cast<size_t>(i)], up = ups[static_cast<size_t>(i)];
      const double z = 2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      want.push_back(x / (1 + std::exp(-z)) * up);
      const double relative = kExpErrorF32 + 8 * u * std::min(std::abs(z), 90.0);
      // Below -10 the argument may be held: gelu is then below 1e-36.
      const double error =
          std::abs(want.back()) * (relative / (1 + std::exp(z)) + 4 * u) + 1e-36 * std::abs(up);
      bounds.push_back(error + StoreError(dtype(), want.back(), error));
    }
    SCOPED_TRACE(testing::Message() << "ffn " << ffn);
    EXPECT_TRUE(WithinBounds(Gate(n / ffn, ffn, gate_up, 0, Activation::kGeluTanh), want, bounds));
  }
  const std::vector<float> nan = Gate(1, 1, std::vector<float>{kNan, 1}, 0, Activation::kGeluTanh);
  EXPECT_TRUE(std::isnan(nan[0]));
}

// Off by 10 * 2^-24 of the cap at most (elements.cuh), and a rounding of the argument.
TEST_P(RowsTest, SoftCapEqualsReference) {
  std::mt19937_64 random(11);
  for (const int64_t cols : {1, 15, 16, 17, 577}) {
    for (const int64_t rows : {0, 1, 9}) {
      for (const float cap : {1.0f, 30.0f}) {
        std::vector<float> logits = Normals(random, rows * cols, 2 * cap);
        if (!logits.empty()) logits[0] = 1e30f;
        Matrix at(backend(), DType::kF32, rows, cols, cols + 3);
        at.Set(logits);
        kernels().SoftCap(at.view(), cap);
        backend().device().stream().Synchronize();
        EXPECT_TRUE(at.OnlyWrote(rows));
        std::vector<double> want, bounds;
        for (const float x : logits) {
          want.push_back(cap * std::tanh(static_cast<double>(x) / cap));
          bounds.push_back(12 * u * cap + std::abs(want.back()) * u);
        }
        EXPECT_TRUE(WithinBounds(at.Get(), want, bounds)) << "cols " << cols << ", cap " << cap;
      }
    }
  }
  Matrix at(backend(), DType::kF32, 1, 20);
  std::vector<float> logits(20, 1.0f);
  logits[3] = logits[19] = kNan;
  at.Set(logits);
  kernels().SoftCap(at.view(), 30.0f);
  backend().device().stream().Synchronize();
  const std::vector<float> got = at.Get();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i == 3 || i == 19) << i;
}

void ExpectStats(const std::vector<RowStats>& got, std::span<const float> logits, int64_t cols,
                 std::span<const int64_t> targets) {
  for (size_t t = 0; t < got.size(); ++t) {
    const auto row = logits.subspan(t * static_cast<size_t>(cols), static_cast<size_t>(cols));
    const float max = row.empty() ? -kInfinity : *std::max_element(row.begin(), row.end());
    EXPECT_EQ(got[t].max, max) << "row " << t;
    double sum = 0;
    // Tiny powers may be held at 2^-125.
    double bound = static_cast<double>(cols) * 0x1p-125;
    for (const float x : row) {
      const double distance = static_cast<double>(max) - x;
      const double term = std::exp(-distance);
      sum += term;
      if (distance < 100) bound += term * (kExpErrorF32 + 3 * u * distance);
    }
    bound += sum * (SumError(cols) + u);
    EXPECT_LE(std::abs(got[t].sum_exp - sum), bound)
        << "row " << t << " got " << got[t].sum_exp << " want " << sum;
    const int64_t target = targets[t];
    EXPECT_EQ(got[t].target, target >= 0 && target < cols ? row[static_cast<size_t>(target)] : 0.0f)
        << "row " << t;
  }
}

TEST_P(RowsTest, LogitStatsEqualReference) {
  std::mt19937_64 random(5);
  for (const int64_t cols : {0, 1, 2, 15, 16, 17, 100, 4096, 32003}) {
    for (const int64_t rows : {0, 1, 9, 20}) {
      for (const float deviation : {0.1f, 4.0f, 40.0f}) {
        SCOPED_TRACE(testing::Message()
                     << "cols " << cols << ", rows " << rows << ", deviation " << deviation);
        const std::vector<float> logits = Normals(random, rows * cols, deviation);
        std::vector<int64_t> targets;
        for (int64_t t = 0; t < rows; ++t) {
          const int64_t some[] = {0, cols - 1, cols / 2, -1, cols, cols + 1000};
          targets.push_back(some[t % 6]);
        }
        ExpectStats(Stats(rows, cols, logits, targets, cols % 2 == 0 ? 5 : 0), logits, cols,
                    targets);
      }
    }
  }
}

TEST_P(RowsTest, LogitStatsOfExtremes) {
  const int64_t cols = 37;
  const auto stats_of = [&](const std::vector<float>& row) {
    const std::vector<int64_t> target = {36};
    const std::vector<RowStats> stats = Stats(1, cols, row, target);
    ExpectStats(stats, row, cols, target);
    return stats[0];
  };
  // The largest first, in a vector, in the tail; the others far below.
  for (const size_t at : {0, 5, 31, 32, 36}) {
    for (const float low : {-3e38f, -kInfinity, -1e5f, -50.0f}) {
      for (const float high : {-40.0f, 0.0f, 60.0f, 3e38f}) {
        SCOPED_TRACE(testing::Message() << "at " << at << ", low " << low << ", high " << high);
        std::vector<float> row(static_cast<size_t>(cols), low);
        row[at] = high;
        const RowStats stats = stats_of(row);
        EXPECT_EQ(stats.max, high);
        EXPECT_NEAR(stats.sum_exp, 1.0 + (low == -50.0f ? 36 * std::exp(-50.0 - high) : 0.0), 1e-3);
      }
    }
  }
  for (const float all : {0.0f, -0.0f, 1e-40f, 3.4e38f, -3.4e38f}) {
    EXPECT_NEAR(stats_of(std::vector<float>(static_cast<size_t>(cols), all)).sum_exp, cols, 1e-4);
  }
}

TEST_P(RowsTest, LogitStatsLoseNoNan) {
  for (const int64_t cols : {1, 16, 40}) {
    for (const int64_t at : {int64_t{0}, cols / 2, cols - 1}) {
      std::vector<float> row(static_cast<size_t>(cols), 1.0f);
      row[static_cast<size_t>(at)] = kNan;
      const RowStats stats = Stats(1, cols, row, std::vector<int64_t>{0})[0];
      EXPECT_TRUE(std::isnan(stats.sum_exp)) << "at " << at << " of " << cols;
    }
  }
}

// What is masked altogether has no sum that is NaN: merged with other shards it is nothing.
TEST_P(RowsTest, LogitStatsOfNothingButMinusInfinity) {
  for (const int64_t cols : {1, 16, 40, 300}) {
    std::vector<float> row(static_cast<size_t>(cols), -kInfinity);
    const RowStats masked = Stats(1, cols, row, std::vector<int64_t>{0})[0];
    EXPECT_EQ(masked.max, -kInfinity);
    EXPECT_LT(masked.sum_exp, 1e-30f) << cols;
    for (const float odd : {kNan, kInfinity}) {
      row.back() = odd;
      EXPECT_TRUE(std::isnan(Stats(1, cols, row, std::vector<int64_t>{0})[0].sum_exp)) << cols;
    }
  }
}

TEST_P(RowsTest, LogitStatsRowsKeepTheirBits) {
  std::mt19937_64 random(6);
  const int64_t rows = 19, cols = 1003;
  const std::vector<float> logits = Normals(random, rows * cols, 5.0f);
  const std::vector<int64_t> targets(static_cast<size_t>(rows), 3);
  const std::vector<RowStats> all = Stats(rows, cols, logits, targets);
  for (const int n_threads : {1, 2, 3}) {
    UseThreads(n_threads);
    for (int64_t t = 0; t < rows; ++t) {
      const auto row =
          std::span(logits).subspan(static_cast<size_t>(t * cols), static_cast<size_t>(cols));
      const RowStats one = Stats(1, cols, row, std::span(targets).first(1))[0];
      const RowStats& same = all[static_cast<size_t>(t)];
      EXPECT_TRUE(SameBits(std::vector<float>{one.max, one.sum_exp, one.target},
                           std::vector<float>{same.max, same.sum_exp, same.target}));
    }
  }
}

void ExpectLargest(const std::vector<ArgMaxLogit>& got, std::span<const float> logits,
                   int64_t cols) {
  for (size_t t = 0; t < got.size(); ++t) {
    ArgMaxLogit want;
    for (int64_t i = 0; i < cols; ++i) {
      const float x = logits[t * static_cast<size_t>(cols) + static_cast<size_t>(i)];
      if (x > want.logit) want = {x, static_cast<int32_t>(i)};
    }
    EXPECT_EQ(got[t].column, want.column) << "row " << t;
    EXPECT_EQ(got[t].logit, want.logit) << "row " << t;
  }
}

TEST_P(RowsTest, ArgMaxFindsTheFirstOfTheLargest) {
  std::mt19937_64 random(7);
  for (const int64_t cols : {0, 1, 2, 15, 16, 17, 100, 4095, 4096, 4097, 9000, 32003}) {
    for (const int64_t rows : {0, 1, 9, 300}) {
      if (rows * cols > 40000 && rows > 9) continue;
      for (const int64_t more_stride : {0, 5, 64}) {
        SCOPED_TRACE(testing::Message()
                     << "cols " << cols << ", rows " << rows << ", stride +" << more_stride);
        std::vector<float> logits = Normals(random, rows * cols, 4.0f);
        ExpectLargest(Largest(rows, cols, logits, more_stride), logits, cols);
        for (float& x : logits) x = std::round(x / 8);  // few values, many equals
        ExpectLargest(Largest(rows, cols, logits, more_stride), logits, cols);
      }
    }
  }
}

TEST_P(RowsTest, ArgMaxAtEveryPlace) {
  const int64_t cols = 4096 + 40;
  std::vector<int64_t> places = {0, 4095, 4096, cols - 1};
  for (int64_t at = 1; at < cols; at += 61) places.push_back(at);
  std::vector<float> logits;
  for (const int64_t at : places) {
    std::vector<float> row(static_cast<size_t>(cols), -2.0f);
    row[static_cast<size_t>(at)] = -1.0f;
    logits.insert(logits.end(), row.begin(), row.end());
  }
  const auto got = Largest(static_cast<int64_t>(places.size()), cols, logits);
  for (size_t t = 0; t < places.size(); ++t) EXPECT_EQ(got[t].column, places[t]);
}

// A row that holds a NaN is told by one; rows beside it are not touched by that.
TEST_P(RowsTest, ArgMaxTellsOfANan) {
  for (const int64_t cols : {1, 8, 40, 4104, 9000}) {
    const auto n = static_cast<size_t>(cols);
    for (const float other : {-kInfinity, -3.0f, kInfinity}) {
      for (const size_t at : {size_t{0}, n / 3, n / 2, n - 1}) {
        SCOPED_TRACE(testing::Message() << "other " << other << ", at " << at << " of " << cols);
        std::vector<float> rows(3 * n, other);
        rows[n + at] = kNan;
        for (size_t i = 2 * n; i < 3 * n; ++i) rows[i] = kNan;
        if (n > 1) rows[2 * n + at] = other;
        const std::vector<ArgMaxLogit> got = Largest(3, cols, rows);
        ExpectLargest({got[0]}, std::span(rows).first(n), cols);
        for (const size_t row : {size_t{1}, size_t{2}}) {
          EXPECT_TRUE(std::isnan(got[row].logit)) << "row " << row << " has " << got[row].logit;
          EXPECT_GE(got[row].column, 0);
          EXPECT_LT(got[row].column, cols);
        }
      }
    }
  }
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(RowsTest);

}  // namespace
}  // namespace kvfold
