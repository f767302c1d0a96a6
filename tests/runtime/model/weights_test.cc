// What loading takes and refuses.
#include "runtime/weights/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/local_model.h"
#include "tests/support/random_model.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KVFOLD_SANITIZED 1
#else
#define KVFOLD_SANITIZED 0
#endif

namespace kvfold {
namespace {

using testing::HasSubstr;

// The model of rank `tp_rank` of `tp_size`, without the others.
void Load(const ModelConfig& config, const Checkpoint& checkpoint, int tp_size = 1,
          int tp_rank = 0) {
  const ShardPlan plan(config, tp_size);
  CpuDevice device(1);
  const auto kernels = MakeCpuKernels(device, DType::kF32, DetectCpuIsa());
  const Weights weights(config, plan.rank(tp_rank), checkpoint, *kernels, device);
}

std::string RefusalOf(const ModelConfig& config, const Checkpoint& checkpoint) {
  try {
    Load(config, checkpoint);
  } catch (const InputError& error) {
    return error.what();
  }
  return "not refused";
}

ModelConfig SmallConfig() {
  ModelConfig config = RandomConfig(2);
  SetWindows(config, {0, 0});
  SetEvery(config, &LayerSpec::qkv_bias, true);
  config.tie_embeddings = false;
  return config;
}

TEST(WeightsTest, MissingTensorIsNamed) {
  const ModelConfig config = SmallConfig();
  const RandomCheckpoint whole(config, 1);
  EXPECT_EQ(RefusalOf(config, whole), "not refused");
  for (const TensorInfo& tensor : whole.tensors()) {
    if (tensor.name == kEmbeddingTensor) continue;  // EmbeddingSource's
    RandomCheckpoint broken(config, 1);
    broken.Remove(tensor.name);
    EXPECT_THAT(RefusalOf(config, broken), HasSubstr(tensor.name));
  }
}

TEST(WeightsTest, WrongShapeIsNamedWithBothShapes) {
  const ModelConfig config = SmallConfig();
  const RandomCheckpoint whole(config, 1);
  for (const TensorInfo& tensor : whole.tensors()) {
    if (tensor.name == kEmbeddingTensor) continue;
    for (const auto& [rows, cols] :
         {std::pair{tensor.rows, tensor.cols + 1}, std::pair{tensor.rows + 1, tensor.cols},
          std::pair{tensor.cols + 2, tensor.rows}}) {
      RandomCheckpoint broken(config, 1);
      broken.Reshape(tensor.name, rows, cols);
      const std::string refusal = RefusalOf(config, broken);
      EXPECT_THAT(refusal, HasSubstr(tensor.name));
      EXPECT_THAT(refusal, HasSubstr(fmt::format("[{}, {}]", rows, cols)));
      EXPECT_THAT(refusal, HasSubstr(fmt::format("[{}, {}]", tensor.rows, tensor.cols)));
    }
  }
}

TEST(WeightsTest, TiedVocabularyIsTheEmbeddingTable) {
  ModelConfig config = SmallConfig();
  config.tie_embeddings = true;
  RandomCheckpoint checkpoint(config, 1);
  EXPECT_EQ(checkpoint.Find("lm_head.weight"), nullptr);
  Load(config, checkpoint);
  checkpoint.Remove(kEmbeddingTensor);
  EXPECT_THAT(RefusalOf(config, checkpoint), HasSubstr(kEmbeddingTensor));
}

TEST(WeightsTest, ProgressRisesToTheWholeOnEveryRank) {
  const ModelConfig config = SmallConfig();
  const RandomCheckpoint checkpoint(config, 1);
  const ShardPlan plan(config, 2);
  for (const int tp_rank : {0, 1}) {
    CpuDevice device(2);
    const auto kernels = MakeCpuKernels(device, DType::kF32, DetectCpuIsa());
    int64_t last = 0;
    const Weights weights(config, plan.rank(tp_rank), checkpoint, *kernels, device,
                          [&](int64_t bytes_done, int64_t bytes_total) {
                            EXPECT_GT(bytes_done, last);
                            EXPECT_LE(bytes_done, bytes_total);
                            EXPECT_EQ(bytes_total, device.allocated_bytes());
                            last = bytes_done;
                          });
    EXPECT_EQ(last, weights.bytes());  // the vocabulary comes last
  }
}

// Anonymous memory of this process that is resident.
int64_t ResidentAnonymousBytes() {
  std::ifstream status("/proc/self/status");
  std::string field;
  while (status >> field) {
    if (field != "RssAnon:") continue;
    int64_t kib = 0;
    status >> kib;
    return kib * 1024;
  }
  return -1;
}

// The model is packed strip by strip: what is read and not yet packed is never much.
TEST(WeightsTest, LoadingTakesLittleMoreThanThePackedWeights) {
  if (KVFOLD_SANITIZED) GTEST_SKIP() << "Sanitizers keep memory of their own.";
  if (ResidentAnonymousBytes() < 0) GTEST_SKIP() << "This system has no /proc/self/status.";
  const char* const model = std::getenv("KVFOLD_DEMO_MODEL");
  if (model == nullptr) {
    GTEST_SKIP() << "KVFOLD_DEMO_MODEL is not set: scripts/fetch_demo_model.sh fetches the model "
                    "and prints its path.";
  }
  const ModelConfig config = ReadModelConfig(model);
  for (const auto& [tp_size, tp_rank] : {std::pair{1, 0}, std::pair{3, 1}}) {
    const ShardPlan plan(config, tp_size);
    const int64_t before = ResidentAnonymousBytes();
    const auto checkpoint = Checkpoint::Open(model);
    CpuDevice device(2);
    const auto kernels = MakeCpuKernels(device, DType::kF32, DetectCpuIsa());
    std::atomic<int64_t> most = 0;
    // Watches from beside, so that what is there only while a strip is packed is seen too.
    std::jthread watcher([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        most = std::max(most.load(), ResidentAnonymousBytes() - before);
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    const Weights weights(config, plan.rank(tp_rank), *checkpoint, *kernels, device);
    watcher.request_stop();
    watcher.join();
    most = std::max(most.load(), ResidentAnonymousBytes() - before);
    EXPECT_LE(most.load(), weights.bytes() + weights.bytes() / 10 + (int64_t{64} << 20))
        << "rank " << tp_rank << " of " << tp_size << " holds " << weights.bytes();
    EXPECT_GE(most.load(), weights.bytes() / 2);  // the weights were there to be seen
    // A rank of three holds about a third; the norms are everybody's.
    EXPECT_LE(weights.bytes() * tp_size, int64_t{135'000'000} * 4 * 11 / 10);
  }
}

}  // namespace
}  // namespace kvfold
