// A sequence's attention is its own: the same bits alone and beside others, on any number of
// threads, every time.
#include <numeric>

#include "tests/runtime/kernels/attention_batch.h"
#include "tests/support/all_close.h"

namespace kvfold {
namespace {

class AttentionBitsTest : public KernelsTest {
 protected:
  static std::vector<BatchShape> Shapes() {
    return {
        {64, {0, 0, 0, 1, 1}, 0, {{0, 1}, {130, 67}, {2500, 1}, {1023, 3}, {2500, 1}, {5, 0}}},
        {24, {0, 1, 1, 1}, 200, {{0, 3}, {1000, 130}, {2500, 1}}},
        {128, {0, 0, 0, 0, 0, 0, 0, 0}, 1300, {{2500, 2}, {2500, 3}, {127, 40}}},
    };
  }
  static std::vector<size_t> InOrder(size_t n) {
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  static void ExpectSame(const AttentionOutput& got, const AttentionOutput& want) {
    EXPECT_TRUE(SameBits(got.out, want.out));
    EXPECT_TRUE(SameBits(got.log_sum_exp, want.log_sum_exp));
  }
};

TEST_P(AttentionBitsTest, AloneOrBesideOthersOnAnyThreads) {
  uint64_t seed = 0;
  for (const BatchShape& shape : Shapes()) {
    const std::vector<SequenceData> sequences = MakeSequences(shape, ++seed);
    const std::vector<size_t> order = InOrder(sequences.size());
    const std::vector<size_t> reversed(order.rbegin(), order.rend());
    for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
      SCOPED_TRACE(testing::Message()
                   << "head_dim " << shape.head_dim << ", cache " << DTypeName(kv_dtype));
      UseThreads(2);
      const std::vector<AttentionOutput> all =
          RunAttention(backend(), kv_dtype, shape, sequences, order);
      const std::vector<AttentionOutput> backwards =
          RunAttention(backend(), kv_dtype, shape, sequences, reversed);
      for (const size_t i : order) {
        SCOPED_TRACE(testing::Message() << "sequence " << i);
        ExpectSame(backwards[sequences.size() - 1 - i], all[i]);
        ExpectSame(RunAttention(backend(), kv_dtype, shape, sequences, {i})[0], all[i]);
      }
      for (const int n_threads : {1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << "threads " << n_threads);
        UseThreads(n_threads);
        for (int time = 0; time < 2; ++time) {
          const std::vector<AttentionOutput> again =
              RunAttention(backend(), kv_dtype, shape, sequences, order);
          for (const size_t i : order) ExpectSame(again[i], all[i]);
        }
      }
    }
  }
}

KVFOLD_FOR_ALL_IMPLEMENTATIONS(AttentionBitsTest);

}  // namespace
}  // namespace kvfold
