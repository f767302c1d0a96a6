#include "runtime/kernels/cuda/attention_choice.h"

#include <algorithm>

#include "comm/base/rounding.h"
#include "comm/error.h"

namespace kvfold::cuda {
namespace {

template <int kHeadDim, bool kInt8>
AttentionTiling TilingFor(int64_t packed_rows) {
  return packed_rows <= kFewRows ? TilingOf<kHeadDim, true, kInt8>()
                                 : TilingOf<kHeadDim, false, kInt8>();
}
template <int kHeadDim>
AttentionTiling TilingFor(int64_t packed_rows, bool int8) {
  return int8 ? TilingFor<kHeadDim, true>(packed_rows) : TilingFor<kHeadDim, false>(packed_rows);
}

}  // namespace

AttentionTiling ChooseTiling(int64_t head_dim, int64_t packed_rows, bool int8) {
  switch (head_dim) {
    case 64:
      return TilingFor<64>(packed_rows, int8);
    case 96:
      return TilingFor<96>(packed_rows, int8);
    case 128:
      return TilingFor<128>(packed_rows, int8);
    case 256:
      return TilingFor<256>(packed_rows, int8);
    default:
      KVFOLD_CHECK(false, "head_dim", head_dim);
      return {};
  }
}

int ChooseSplits(int64_t row_tiles, int64_t key_tiles, int64_t blocks_at_a_time) {
  if (row_tiles <= 0 || key_tiles <= 0) return 1;
  const int64_t most =
      std::min(key_tiles / kLeastSplitTiles, MostPartialTiles(blocks_at_a_time) / row_tiles);
  const auto use = [&](int64_t splits) {  // of the waves that row_tiles * splits blocks take
    const int64_t blocks = row_tiles * splits;
    const int64_t waves = CeilDiv(blocks, blocks_at_a_time);
    return static_cast<double>(blocks) / static_cast<double>(waves * blocks_at_a_time);
  };
  double best = use(1);
  for (int64_t splits = 2; splits <= most; ++splits) best = std::max(best, use(splits));
  for (int64_t splits = 1; splits < most; ++splits) {
    if (use(splits) >= 0.85 * best) return static_cast<int>(splits);
  }
  return static_cast<int>(std::max<int64_t>(1, most));
}

}  // namespace kvfold::cuda
