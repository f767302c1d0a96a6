// The table of tensors, and what ranks take of it.
#include "shard/tensor_cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace kvfold {
namespace {

using testing::Each;
using testing::Ge;

ModelConfig SmallConfig(bool qkv_bias, bool tie_embeddings) {
  ModelConfig config;
  config.layers.resize(2, {.qkv_bias = qkv_bias});
  config.hidden = 30;
  config.n_heads = 6;
  config.n_kv_heads = 3;
  config.head_dim = 4;
  config.ffn_dim = 150;
  config.vocab_size = 200;
  config.tie_embeddings = tie_embeddings;
  return config;
}

std::vector<ModelConfig> Configs() {
  std::vector<ModelConfig> configs = {SmallConfig(false, false), SmallConfig(true, false),
                                      SmallConfig(false, true), SmallConfig(true, true)};
  configs.push_back(configs.front());
  configs.back().layers.back().qk_norm = true;
  configs.push_back(configs.front());
  for (LayerSpec& layer : configs.back().layers) layer.post_norms = true;
  return configs;
}

TEST(TensorTableTest, EveryTensorHasTwoNamesOfItsOwn) {
  for (const ModelConfig& config : Configs()) {
    std::set<std::string> names;
    const bool post_norms = config.layer(0).post_norms;
    for (const ModelTensor& tensor : ModelTensors(config)) {
      EXPECT_TRUE(IsModelTensor(tensor.name)) << tensor.name;
      EXPECT_EQ(FindTensorPlace(tensor.name)->row->role, tensor.row->role) << tensor.name;
      const std::string gguf_name = NameInGguf(tensor.name, post_norms);
      EXPECT_EQ(NameFromGguf(gguf_name, post_norms), tensor.name);
      EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
      EXPECT_TRUE(names.insert(gguf_name).second) << gguf_name;
    }
    size_t expected = config.tie_embeddings ? 2 : 3;
    for (const LayerSpec& layer : config.layers)
      expected +=
          9 + (layer.qkv_bias ? 3 : 0) + (layer.qk_norm ? 2 : 0) + (layer.post_norms ? 2 : 0);
    EXPECT_EQ(names.size(), 2 * expected);
  }
}

// The embedding is read on the host, and tied the vocabulary's; everything else is in one slot.
TEST(TensorTableTest, SlotsHoldEveryTensorOnce) {
  for (const ModelConfig& config : Configs()) {
    std::multiset<std::string> held;
    ForEachSlot(config, [&](int64_t layer, WeightSlot slot) {
      for (const TensorRow* const row : SlotRows(config, layer, slot)) {
        EXPECT_EQ(row->is_vector(), IsVector(slot));
        held.insert(TensorOf(config, *row, layer).name);
      }
    });
    for (const ModelTensor& tensor : ModelTensors(config)) {
      const bool on_host = tensor.name == kEmbeddingTensor && !config.tie_embeddings;
      EXPECT_EQ(held.count(tensor.name), on_host ? 0u : 1u) << tensor.name;
      held.erase(tensor.name);
    }
    EXPECT_TRUE(held.empty());
  }
}

// How often an element of a dimension is held, over all ranks.
std::vector<int> Holders(const ModelConfig& config, const ShardPlan& plan, TensorDim dim) {
  std::vector<int> holders(static_cast<size_t>(DimSize(config, dim)));
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    const Range range = RankRange(config, plan.rank(rank), dim);
    for (int64_t i = range.begin; i < range.end; ++i) ++holders.at(static_cast<size_t>(i));
    if (range.end < DimSize(config, dim)) EXPECT_EQ(range.end % CutUnit(config, dim), 0);
    if (range.size() > 0) EXPECT_EQ(range.begin % CutUnit(config, dim), 0);
  }
  return holders;
}

TEST(TensorCutTest, RanksTakeEveryElement) {
  const ModelConfig config = SmallConfig(true, false);
  for (int tp_size = 1; tp_size <= 6; ++tp_size) {
    const ShardPlan plan(config, tp_size);
    for (const TensorDim dim : {TensorDim::kQWidth, TensorDim::kFfn, TensorDim::kVocab}) {
      EXPECT_THAT(Holders(config, plan, dim), Each(1)) << "of " << tp_size;
    }
    EXPECT_THAT(Holders(config, plan, TensorDim::kKvWidth), Each(Ge(1)));  // neighbours share heads
    EXPECT_THAT(Holders(config, plan, TensorDim::kHidden), Each(tp_size));
    EXPECT_THAT(Holders(config, plan, TensorDim::kOne), Each(tp_size));
  }
}

TEST(TensorCutTest, SlotsAreStackedSlices) {
  const ModelConfig config = SmallConfig(true, true);
  const ShardPlan plan(config, 4);  // query heads 2, 2, 1, 1 of KV heads 1, 1, 1, 1
  const auto shape = [&](int rank, WeightSlot slot) {
    return RankSlotShape(config, plan.rank(rank), 1, slot);
  };
  EXPECT_EQ(shape(0, WeightSlot::kQkv), (LinearShape{(2 + 1 + 1) * 4, 30}));
  EXPECT_EQ(shape(3, WeightSlot::kQkv), (LinearShape{(1 + 1 + 1) * 4, 30}));
  EXPECT_EQ(shape(3, WeightSlot::kQkvBias), (LinearShape{(1 + 1 + 1) * 4, 1}));
  EXPECT_EQ(shape(0, WeightSlot::kAttentionOut), (LinearShape{30, 2 * 4}));
  EXPECT_EQ(shape(0, WeightSlot::kGateUp), (LinearShape{2 * 64, 30}));
  EXPECT_EQ(shape(2, WeightSlot::kDown), (LinearShape{30, 150 - 2 * 64}));
  EXPECT_EQ(shape(3, WeightSlot::kDown), (LinearShape{30, 0}));
  EXPECT_EQ(shape(3, WeightSlot::kVocabulary), (LinearShape{200 - 3 * 64, 30}));
  EXPECT_EQ(shape(1, WeightSlot::kFfnNorm), (LinearShape{30, 1}));
  EXPECT_EQ(RankSlotShape(SmallConfig(false, true), plan.rank(0), 0, WeightSlot::kQkvBias),
            LinearShape());
}

}  // namespace
}  // namespace kvfold
