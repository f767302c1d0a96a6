// Whole models by the GPU's kernels, emulated, with ranks that sum through staging memory: what a
// run on GPUs does, against Hugging Face transformers.
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/kernels/cuda/cuda_kernels.h"
#include "tests/support/all_close.h"
#include "tests/support/fixture.h"
#include "tests/support/local_model.h"
#include "tests/support/plain_transfer.h"
#include "tests/support/simt/emulated_gpu.h"

namespace kvfold {
namespace {

LocalParts EmulatedParts(const LocalModelOptions& options) {
  auto device = std::make_unique<simt::EmulatedDevice>(1);
  auto kernels = MakeCudaKernels(
      *device, simt::MakeEmulatedExecutor(*device, /*n_multiprocessors=*/4, {}), options.dtype);
  return {std::move(device), std::move(kernels), std::make_unique<PlainTransfer>(4096)};
}

std::filesystem::path ReferenceOf(const std::string& model) {
  return FixtureModel(model) / "reference";
}
std::vector<TokenId> Tokens(const std::string& model) {
  return ReadTokens(ReferenceOf(model) / "tokens.json");
}
std::vector<float> Logits(const std::string& model, LocalModelOptions options) {
  options.make_parts = EmulatedParts;
  return LocalLogits(FixtureCheckpoint(model), Tokens(model), options);
}
std::vector<float> Reference(const std::string& model) {
  return ReadNpy<float>(ReferenceOf(model) / "logits.npy");
}
// How far transformers' own bf16 pass is from its float32 one.
double Bf16Distance(const std::string& model) {
  return ReadJson(ReferenceOf(model) / "bf16.json").at("distance").get<double>();
}

// |got - want| / |want| over all logits.
double Distance(std::span<const float> got, std::span<const float> want) {
  double apart = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    apart += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
    size += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(apart / size);
}

class EmulatedModelTest : public testing::TestWithParam<std::string> {};

TEST_P(EmulatedModelTest, LogitsInF32EqualTransformers) {
  const std::vector<float> want = Reference(GetParam());
  for (const int tp_size : {1, 3}) {
    const auto got = Logits(GetParam(), {.tp_size = tp_size, .chunk = 64});
    EXPECT_TRUE(AllClose(got, want, 1e-4)) << tp_size << " ranks";
  }
}

TEST_P(EmulatedModelTest, LogitsInBf16AreNoFurtherThanTransformersOwn) {
  const std::vector<float> want = Reference(GetParam());
  for (const int tp_size : {1, 2}) {
    const auto got =
        Logits(GetParam(),
               {.tp_size = tp_size, .chunk = 64, .dtype = DType::kBF16, .kv_dtype = DType::kBF16});
    ASSERT_EQ(got.size(), want.size());
    EXPECT_LE(Distance(got, want), Bf16Distance(GetParam())) << tp_size << " ranks";
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EmulatedModelTest, testing::ValuesIn(FixtureModels()),
                         [](const auto& model) { return model.param; });

TEST(EmulatedModel, SumsOverRanksMayBeF32) {
  const std::string model = "llama_hd64";
  const std::vector<float> want = Reference(model);
  LocalModelOptions options{
      .tp_size = 2, .chunk = 64, .dtype = DType::kBF16, .kv_dtype = DType::kBF16};
  const auto in_bf16 = Logits(model, options);
  options.allreduce_in_f32 = true;
  const auto in_f32 = Logits(model, options);
  EXPECT_LE(Distance(in_f32, want), Bf16Distance(model));
  EXPECT_FALSE(SameBits(in_f32, in_bf16));
}

TEST(EmulatedModel, GreedyTextEqualsTransformers) {
  const std::string model = "llama_gqa";
  const auto greedy = ReadJson(ReferenceOf(model) / "greedy.json");
  const auto want = (greedy.is_array() ? greedy : greedy.at("tokens")).get<std::vector<TokenId>>();
  std::vector<TokenId> got;
  LocalModelOptions options{.tp_size = 2};
  options.make_parts = EmulatedParts;
  RunLocalModel(FixtureCheckpoint(model), options, [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = 64});
    Request request;
    request.tokens = Tokens(model);
    request.max_new_tokens = static_cast<int64_t>(want.size());
    scheduler.Submit(request,
                     {.done = [&](const Completion& completion) { got = completion.tokens; }});
    while (scheduler.Step()) {
    }
  });
  EXPECT_EQ(got, want);
}

// Requests of several lengths side by side: chunks of some ride with the tokens of others.
TEST(EmulatedModel, LogitsAloneEqualLogitsBesideOthers) {
  const std::string model = "llama_hd128";
  const std::vector<TokenId> text = Tokens(model);
  const std::vector<size_t> lengths = {100, 3, 61};
  LocalModelOptions options{.tp_size = 2,
                            .chunk = 16,
                            .max_tokens = 300,
                            .max_sequences = 3,
                            .dtype = DType::kBF16,
                            .kv_dtype = DType::kI8};
  options.make_parts = EmulatedParts;
  std::vector<std::vector<float>> alone(lengths.size()), together(lengths.size());
  RunLocalModel(FixtureCheckpoint(model), options, [&](LocalRank& rank) {
    Scheduler scheduler(rank.engine, rank.embeddings, {.chunk = options.chunk});
    const auto submit = [&](size_t i, std::vector<float>& logits) {
      Request request;
      request.id = std::to_string(i);
      request.tokens = std::vector<TokenId>(text.begin(),
                                            text.begin() + static_cast<std::ptrdiff_t>(lengths[i]));
      request.max_new_tokens = 6;
      scheduler.Submit(request, {.logits = [&logits](std::span<const float> row) {
                         logits.insert(logits.end(), row.begin(), row.end());
                       }});
    };
    const auto run = [&] {
      while (scheduler.Step()) {
      }
    };
    for (size_t i = 0; i < lengths.size(); ++i) {
      submit(i, alone[i]);
      run();
    }
    for (size_t i = 0; i < lengths.size(); ++i) submit(i, together[i]);
    run();
  });
  for (size_t i = 0; i < lengths.size(); ++i) {
    EXPECT_FALSE(alone[i].empty());
    EXPECT_TRUE(SameBits(together[i], alone[i])) << lengths[i] << " tokens";
  }
}

}  // namespace
}  // namespace kvfold
