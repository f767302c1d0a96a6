#include "shard/tensor_cut.h"

namespace kvfold {

Range RankRange(const ModelConfig& config, const RankShard& shard, TensorDim dim) {
  const int64_t unit = CutUnit(config, dim);
  switch (dim) {
    case TensorDim::kQWidth:
      return {shard.query_heads.begin * unit, shard.query_heads.end * unit};
    case TensorDim::kKvWidth:
      return {shard.kv_heads.begin * unit, shard.kv_heads.end * unit};
    case TensorDim::kFfn:
      return shard.ffn_cols;
    case TensorDim::kVocab:
      return shard.vocab_rows;
    default:  // whole
      return {0, DimSize(config, dim)};
  }
}

LinearShape RankSlotShape(const ModelConfig& config, const RankShard& shard, int64_t layer,
                          WeightSlot slot) {
  LinearShape shape;
  for (const TensorRow* const row : SlotRows(config, layer, slot)) {
    shape.n_out += RankRange(config, shard, row->out_dim()).size();
    shape.n_in = row->is_vector() ? 1 : RankRange(config, shard, row->cols).size();
  }
  return shape;
}

}  // namespace kvfold
