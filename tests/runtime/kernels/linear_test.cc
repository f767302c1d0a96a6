// Linear on packed weights: shapes, padding, strides, and that a row's bits are its own.
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <tuple>

#include "tests/runtime/kernels/backend.h"
#include "tests/runtime/kernels/reference.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

constexpr int64_t kMostRows = 300;
// Rows of a reference: few where each is long.
int64_t ReferenceRows(LinearShape shape) { return shape.n_in < 8192 ? kMostRows : 65; }

// Inputs of one product and, by row and output, the sum and the sum of its terms' sizes.
struct Product {
  LinearShape shape;
  std::vector<float> x, w, bias;
  std::vector<double> y, sizes;
};

// Rounded to what the implementation multiplies, so that only the order of sums is its own. Kept
// for all implementations.
const Product& ProductOf(LinearShape shape, DType dtype) {
  static std::map<std::tuple<int64_t, int64_t, DType>, std::unique_ptr<Product>> made;
  std::unique_ptr<Product>& product = made[{shape.n_out, shape.n_in, dtype}];
  if (product) return *product;
  std::mt19937_64 random(static_cast<uint64_t>(shape.n_out * 10007 + shape.n_in));
  product = std::make_unique<Product>(Product{shape,
                                              Normals(random, ReferenceRows(shape) * shape.n_in),
                                              Normals(random, shape.n_out * shape.n_in),
                                              Normals(random, shape.n_out),
                                              {},
                                              {}});
  if (dtype == DType::kBF16) {
    for (float& x : product->x) x = RoundToBf16(x);
    for (float& w : product->w) w = RoundToBf16(w);
  }
  for (int64_t t = 0; t < ReferenceRows(shape); ++t) {
    for (int64_t n = 0; n < shape.n_out; ++n) {
      double sum = 0, sizes = 0;
      for (int64_t k = 0; k < shape.n_in; ++k) {
        const double term =
            static_cast<double>(product->x[static_cast<size_t>(t * shape.n_in + k)]) *
            product->w[static_cast<size_t>(n * shape.n_in + k)];
        sum += term;
        sizes += std::abs(term);
      }
      product->y.push_back(sum);
      product->sizes.push_back(sizes);
    }
  }
  return *product;
}

// A packed weight whose memory was garbage before and has guards around it.
class Packed {
 public:
  Packed(Backend& backend, LinearShape shape, std::span<const float> w)
      : memory_(backend, backend.kernels().PackedBytes(shape)) {
    std::vector<std::atomic<int>> asked(static_cast<size_t>(shape.n_out));
    linear_ = backend.kernels().Pack(
        shape, memory_.data(), [&](int64_t row_begin, int64_t row_end, float* out) {
          ASSERT_TRUE(0 <= row_begin && row_begin <= row_end && row_end <= shape.n_out);
          for (int64_t row = row_begin; row < row_end; ++row) ++asked[static_cast<size_t>(row)];
          std::copy(w.begin() + row_begin * shape.n_in, w.begin() + row_end * shape.n_in, out);
        });
    if (shape.n_in > 0) {
      for (const auto& times : asked) EXPECT_EQ(times, 1);  // a weight is read from its file once
    }
    EXPECT_TRUE(memory_.GuardsIntact());
    EXPECT_EQ(linear_->shape(), shape);
  }
  const PackedLinear& operator*() const { return *linear_; }

 private:
  GuardedBytes memory_;
  std::unique_ptr<PackedLinear> linear_;
};

class LinearTest : public KernelsTest {
 protected:
  // Rows [row_begin, row_begin + rows) of the product, alone in buffers padded with NaN.
  std::vector<float> Run(const Product& product, const Packed& packed, int64_t row_begin,
                         int64_t rows, bool with_bias, int64_t more_stride = 0) {
    const auto [n_out, n_in] = product.shape;
    Matrix x(backend(), kernels().activation_dtype(), rows, n_in, n_in + more_stride);
    Matrix y(backend(), DType::kF32, rows, n_out, n_out + more_stride);
    Matrix bias(backend(), DType::kF32, 1, n_out);
    x.Set(std::span(product.x).subspan(static_cast<size_t>(row_begin * n_in),
                                       static_cast<size_t>(rows * n_in)));
    bias.Set(product.bias);
    kernels().Linear(x.view(), *packed, with_bias ? bias.f32() : nullptr, y.view());
    backend().device().stream().Synchronize();
    EXPECT_TRUE(x.OnlyWrote(rows));
    EXPECT_TRUE(y.OnlyWrote(rows));
    return y.Get();
  }

  void ExpectReference(const Product& product, std::span<const int64_t> row_counts,
                       int64_t more_stride = 0) {
    const auto [n_out, n_in] = product.shape;
    const Packed packed(backend(), product.shape, product.w);
    for (const int64_t rows : row_counts) {
      for (const bool with_bias : {false, true}) {
        std::vector<double> want, bounds;
        for (int64_t i = 0; i < rows * n_out; ++i) {
          const double bias = with_bias ? product.bias[static_cast<size_t>(i % n_out)] : 0.0;
          want.push_back(product.y[static_cast<size_t>(i)] + bias);
          // n_in products and the bias; a pair of bf16 may take one more rounding. Denormal
          // results may be zeros.
          bounds.push_back((SumError(n_in + 1) + 2 * kRoundoffF32) *
                               (product.sizes[static_cast<size_t>(i)] + std::abs(bias)) +
                           0x1p-126);
        }
        EXPECT_TRUE(
            WithinBounds(Run(product, packed, 0, rows, with_bias, more_stride), want, bounds))
            << "rows " << rows << ", bias " << with_bias;
      }
    }
  }
  const Product& ProductFor(LinearShape shape) {
    return ProductOf(shape, kernels().activation_dtype());
  }
};

constexpr int64_t kRowCounts[] = {1, 2, 3, 7, 8, 31, 64, 65, 127, 128, 129, 300};

TEST_P(LinearTest, SmallShapesEqualReference) {
  for (const LinearShape shape : {LinearShape{1, 1},
                                  {1, 2},
                                  {2, 1},
                                  {63, 1},
                                  {1, 63},
                                  {2, 64},
                                  {63, 65},
                                  {64, 63},
                                  {65, 2},
                                  {65, 64},
                                  {100, 65},
                                  {64, 192},
                                  {192, 63},
                                  {193, 1},
                                  {16, 33},
                                  {17, 31}}) {
    SCOPED_TRACE(testing::Message() << "n_out " << shape.n_out << ", n_in " << shape.n_in);
    ExpectReference(ProductFor(shape), kRowCounts);
  }
}

TEST_P(LinearTest, LargeShapesEqualReference) {
  for (const LinearShape shape : {LinearShape{192, 193},
                                  {193, 192},
                                  {100, 576},
                                  {576, 100},
                                  {385, 129},
                                  {1, 4097},
                                  {65, 4097}}) {
    SCOPED_TRACE(testing::Message() << "n_out " << shape.n_out << ", n_in " << shape.n_in);
    ExpectReference(ProductFor(shape), kRowCounts);
  }
  // Beyond 8192 columns an implementation may cut a weight otherwise.
  for (const LinearShape shape : {LinearShape{65, 8192}, {65, 8193}}) {
    SCOPED_TRACE(testing::Message() << "n_out " << shape.n_out << ", n_in " << shape.n_in);
    ExpectReference(ProductFor(shape), std::array<int64_t, 3>{1, 7, 65});
  }
}

TEST_P(LinearTest, RowsMayLieApart) {
  for (const LinearShape shape : {LinearShape{65, 64}, {100, 65}, {193, 192}}) {
    SCOPED_TRACE(testing::Message() << "n_out " << shape.n_out << ", n_in " << shape.n_in);
    ExpectReference(ProductFor(shape), std::array<int64_t, 4>{1, 3, 65, 129}, /*more_stride=*/64);
  }
}

TEST_P(LinearTest, RoundsWeightsToItsActivationType) {
  Product product = ProductOf({65, 576}, DType::kF32);
  if (kernels().activation_dtype() == DType::kBF16) {
    const std::vector<float> exact = product.w;
    for (float& x : product.x) x = RoundToBf16(x);
    Product rounded = product;
    for (float& w : rounded.w) w = RoundToBf16(w);
    const Packed from_exact(backend(), product.shape, product.w);
    const Packed from_rounded(backend(), product.shape, rounded.w);
    EXPECT_TRUE(
        SameBits(Run(product, from_exact, 0, 65, true), Run(rounded, from_rounded, 0, 65, true)));
  } else {
    ExpectReference(product, std::array<int64_t, 1>{65});
  }
}

TEST_P(LinearTest, WithoutOutputsDoesNothing) {
  const Product product{{0, 5}, std::vector<float>(kMostRows * 5, 1.0f), {}, {}, {}, {}};
  EXPECT_EQ(kernels().PackedBytes(product.shape), 0);
  const Packed packed(backend(), product.shape, product.w);
  for (const int64_t rows : {0, 1, 65}) {
    EXPECT_TRUE(Run(product, packed, 0, rows, false).empty());
  }
}

TEST_P(LinearTest, WithoutInputsWritesZerosOrTheBias) {
  for (const int64_t n_out : {1, 64, 193}) {
    std::mt19937_64 random(5);
    const Product product{{n_out, 0}, {}, {}, Normals(random, n_out), {}, {}};
    EXPECT_EQ(kernels().PackedBytes(product.shape), 0);
    const Packed packed(backend(), product.shape, product.w);
    for (const int64_t rows : {1, 7, 65}) {
      const std::vector<float> zeros(static_cast<size_t>(rows * n_out), 0.0f);
      EXPECT_TRUE(SameBits(Run(product, packed, 0, rows, false), zeros));
      std::vector<float> biases;
      for (int64_t t = 0; t < rows; ++t) {
        biases.insert(biases.end(), product.bias.begin(), product.bias.end());
      }
      EXPECT_TRUE(SameBits(Run(product, packed, 0, rows, true), biases));
    }
  }
}

TEST_P(LinearTest, WithoutRowsDoesNothing) {
  const Product& product = ProductFor({65, 64});
  const Packed packed(backend(), product.shape, product.w);
  EXPECT_TRUE(Run(product, packed, 0, 0, true).empty());
}

// NaN and infinity in a row are that row's alone, and are not lost.
TEST_P(LinearTest, NanStaysInItsRow) {
  Product product = ProductFor({65, 64});
  const Packed packed(backend(), product.shape, product.w);
  const std::vector<float> before = Run(product, packed, 0, 65, true);
  product.x[3 * 64 + 17] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> after = Run(product, packed, 0, 65, true);
  for (size_t i = 0; i < after.size(); ++i) {
    if (i / 65 == 3) {
      EXPECT_TRUE(std::isnan(after[i])) << i;
    } else {
      EXPECT_EQ(after[i], before[i]) << i;
    }
  }
}

// The contract that fold, full pass and any batch rest on.
TEST_P(LinearTest, RowsKeepTheirBitsWhateverRidesBeside) {
  for (const LinearShape shape :
       {LinearShape{1, 192}, {100, 65}, {193, 576}, {65, 4097}, {576, 577}, {65, 8193}}) {
    SCOPED_TRACE(testing::Message() << "n_out " << shape.n_out << ", n_in " << shape.n_in);
    std::mt19937_64 random(7);
    Product product{shape,
                    Normals(random, kMostRows * shape.n_in),
                    Normals(random, shape.n_out * shape.n_in),
                    Normals(random, shape.n_out),
                    {},
                    {}};
    for (const bool with_bias : {false, true}) {
      UseThreads(2);
      std::vector<float> all;
      {
        const Packed packed(backend(), shape, product.w);
        all = Run(product, packed, 0, kMostRows, with_bias);
        for (const int64_t together : {1, 2, 3, 7, 8, 31, 33, 64, 65, 96, 127, 128, 129}) {
          // Singles everywhere, larger groups at four places, the last one short.
          const int64_t step = together == 1 ? 1 : std::max<int64_t>(together, kMostRows / 4);
          for (int64_t begin = 0; begin < kMostRows; begin += step) {
            const int64_t rows = std::min(together, kMostRows - begin);
            ASSERT_TRUE(SameBits(Run(product, packed, begin, rows, with_bias),
                                 std::span(all).subspan(static_cast<size_t>(begin * shape.n_out),
                                                        static_cast<size_t>(rows * shape.n_out))))
                << "rows " << begin << " to " << begin + rows << ", bias " << with_bias;
          }
        }
      }
      for (const int n_threads : {1, 2, 3}) {
        UseThreads(n_threads);
        const Packed packed(backend(), shape, product.w);
        for (const int64_t rows : {int64_t{1}, int64_t{65}, kMostRows}) {
          ASSERT_TRUE(SameBits(Run(product, packed, 0, rows, with_bias),
                               std::span(all).first(static_cast<size_t>(rows * shape.n_out))))
              << "threads " << n_threads << ", rows " << rows;
        }
      }
    }
  }
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(LinearTest);

}  // namespace
}  // namespace kvfold
