// launcher/report.h: what people read on standard error: tables, sizes and progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shard/memory_plan.h"
#include "shard/shard_plan.h"

namespace kvfold {

std::string FormatBytes(int64_t bytes);     // "1.25 GiB"
std::string FormatSeconds(double seconds);  // "4.2 s", "3 min 20 s", "2 h 5 min"

// A line a rank: query heads, KV heads, bytes of weights, cache, workspace, reserved, total. Then
// the imbalance where there is one.
std::string RankTable(const ShardPlan& plan, const std::vector<RankMemory>& memory);
void PrintRankTable(const ShardPlan& plan,
                    const std::vector<RankMemory>& memory);  // to standard error

// What a run did, in all.
struct RunTotals {
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  int64_t chunks = 0;
  int64_t errors = 0;
  double fold_s = 0.0;
  double decode_s = 0.0;
};
// To standard error: tokens, chunks, seconds, rates, and every rank's peak memory.
void PrintRunSummary(const RunTotals& totals, const std::vector<int64_t>& peak_bytes);

// Progress of a fold: a bar on a terminal, elsewhere a line every few seconds.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  void Update(int64_t chunk, int64_t n_chunks, int64_t tokens_done, int64_t tokens_total);

 private:
  using Clock = std::chrono::steady_clock;
  void EndBar();
  std::string what_;
  bool terminal_;
  bool bar_open_ = false;
  Clock::time_point start_;
  Clock::time_point last_line_;
};

}  // namespace kvfold
