#include "launcher/report.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace kvfold {
namespace {

TEST(FormatBytes, StepsFromUnitToUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1), "1 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.00 KiB");
  EXPECT_EQ(FormatBytes(10 * 1024 - 10), "9.99 KiB");
  EXPECT_EQ(FormatBytes(10 * 1024 - 1), "10.0 KiB");
  EXPECT_EQ(FormatBytes(10 * 1024), "10.0 KiB");
  EXPECT_EQ(FormatBytes(1023 * 1024), "1023.0 KiB");
  EXPECT_EQ(FormatBytes((1 << 20) - 1), "1.00 MiB");
  EXPECT_EQ(FormatBytes(1 << 20), "1.00 MiB");
  EXPECT_EQ(FormatBytes((int64_t{5} << 28)), "1.25 GiB");
  EXPECT_EQ(FormatBytes(int64_t{40} << 30), "40.0 GiB");
  EXPECT_EQ(FormatBytes(int64_t{1} << 40), "1.00 TiB");
  EXPECT_EQ(FormatBytes(std::numeric_limits<int64_t>::max()), "8388608.0 TiB");
}

TEST(FormatSeconds, KeepsTheDigitsThatMatter) {
  EXPECT_EQ(FormatSeconds(0.0), "0.0 ms");
  EXPECT_EQ(FormatSeconds(0.0003), "0.3 ms");
  EXPECT_EQ(FormatSeconds(0.00994), "9.9 ms");
  EXPECT_EQ(FormatSeconds(0.00996), "10 ms");
  EXPECT_EQ(FormatSeconds(0.0994), "99 ms");
  EXPECT_EQ(FormatSeconds(0.0996), "0.1 s");
  EXPECT_EQ(FormatSeconds(4.23), "4.2 s");
  EXPECT_EQ(FormatSeconds(99.9), "99.9 s");
  EXPECT_EQ(FormatSeconds(100.0), "1 min 40 s");
  EXPECT_EQ(FormatSeconds(200.0), "3 min 20 s");
  EXPECT_EQ(FormatSeconds(3599.9), "59 min 59 s");
  EXPECT_EQ(FormatSeconds(3600.0), "1 h 0 min");
  EXPECT_EQ(FormatSeconds(7500.0), "2 h 5 min");
}

TEST(Count, OneAndSeveral) {
  EXPECT_EQ(Count(0, "rank"), "0 ranks");
  EXPECT_EQ(Count(1, "rank"), "1 rank");
  EXPECT_EQ(Count(2, "rank"), "2 ranks");
}

TEST(RankTable, ColumnsLineUpAndImbalanceIsSaid) {
  ModelConfig config;
  config.layers.resize(2);
  config.hidden = 576;
  config.n_heads = 9;
  config.n_kv_heads = 3;
  config.head_dim = 64;
  config.ffn_dim = 1536;
  config.vocab_size = 49152;
  const ShardPlan plan(config, 2);
  std::vector<RankMemory> memory(2);
  memory[0].weights_bytes = int64_t{1} << 40;
  memory[1].cache_bytes = 7;
  std::istringstream table(RankTable(plan, memory));
  std::vector<std::string> lines;
  for (std::string line; std::getline(table, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].size(), lines[1].size());
  EXPECT_EQ(lines[0].size(), lines[2].size());
  EXPECT_NE(lines[1].find("0-4"), std::string::npos) << lines[1];
  EXPECT_NE(lines[2].find("5-8"), std::string::npos) << lines[2];
  // 5 heads where the mean is 4.5.
  EXPECT_NE(lines[3].find("11 %"), std::string::npos) << lines[3];
}

TEST(Summary, TellsWhatWasDone) {
  FoldTotals totals;
  totals.folded_tokens = 1000;
  totals.chunks = 4;
  totals.new_tokens = 21;
  totals.decoded_tokens = 20;
  totals.fold_s = 2.0;
  totals.decode_s = 0.5;
  EXPECT_EQ(Summary(totals, 0, {1 << 20, 3 << 20}),
            "fold:   1000 tokens in 4 chunks, 2.0 s, 500 tokens/s\n"
            "decode: 21 tokens, 0.5 s, 40.0 tokens/s\n"
            "peak memory by rank: 0: 1.00 MiB, 1: 3.00 MiB\n");
  totals.shared_tokens = 512;
  EXPECT_NE(Summary(totals, 0, {1})
                .find("shared: 512 tokens of the prompts were folded for another request\n"),
            std::string::npos);
  EXPECT_NE(Summary(totals, 3, {1}).find("errors: 3\n"), std::string::npos);
}

TEST(Summary, NothingDividesByNothing) {
  EXPECT_EQ(Summary({}, 2, {}),
            "fold:   0 tokens in 0 chunks, 0.0 ms, -\n"
            "decode: 0 tokens, 0.0 ms, -\n"
            "errors: 2\n"
            "peak memory by rank:\n");
}

// Catches what is logged, and standard error, which is no terminal then.
class ProgressTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = spdlog::default_logger();
    auto logger = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_st>(logged_));
    logger->set_pattern("%v");
    spdlog::set_default_logger(std::move(logger));
    testing::internal::CaptureStderr();
  }
  void TearDown() override {
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");  // no bar, no control characters
    spdlog::set_default_logger(before_);
  }
  std::vector<std::string> Lines() const {
    std::istringstream text(logged_.str());
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }

  std::ostringstream logged_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(ProgressTest, SaysTheFirstAndTheLast) {
  Progress progress("folding");
  for (int chunk = 1; chunk <= 1000; ++chunk) progress.Update(chunk, 1000, 7 * chunk, 7000);
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);  // a thousand updates take no two seconds
  EXPECT_EQ(lines[0].find("folding: chunk 1 of 1000, 7 of 7000 tokens, "), 0u) << lines[0];
  EXPECT_NE(lines[0].find(" left"), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1].find("folding: chunk 1000 of 1000, 7000 of 7000 tokens, "), 0u) << lines[1];
  EXPECT_EQ(lines[1].find(" left"), std::string::npos) << lines[1];
}

TEST_F(ProgressTest, SaysALineEveryFewSeconds) {
  Progress progress("folding");
  progress.Update(1, 4, 1, 4);
  progress.Update(2, 4, 2, 4);
  std::this_thread::sleep_for(std::chrono::milliseconds(2050));
  progress.Update(3, 4, 3, 4);
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[1].find("chunk 3 of 4"), std::string::npos) << lines[1];
}

TEST_F(ProgressTest, OneChunkIsOneLine) {
  Progress("folding").Update(1, 1, 5, 5);
  EXPECT_EQ(Lines().size(), 1u);
}

TEST_F(ProgressTest, NothingToDoDividesByNothing) {
  Progress("batch", "request").Update(0, 0, 0, 0);
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_EQ(Lines()[0].find("batch: request 0 of 0, 0 of 0 tokens"), 0u);
}

TEST_F(ProgressTest, SilentWhereInfoIs) {
  spdlog::set_level(spdlog::level::warn);
  Progress("folding").Update(1, 1, 5, 5);
  EXPECT_TRUE(Lines().empty());
}

}  // namespace
}  // namespace kvfold
