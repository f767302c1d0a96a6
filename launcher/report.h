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

std::string Count(int64_t n, std::string_view what);  // "1 rank", "2 ranks"
std::string FormatBytes(int64_t bytes);               // "1.25 GiB"
std::string FormatSeconds(double seconds);  // "0.3 ms", "35 ms", "4.2 s", "3 min 20 s", "2 h 5 min"

// A line a rank: query heads, KV heads, bytes of weights, cache, workspace, reserved, total. Then
// the imbalance where there is one.
std::string RankTable(const ShardPlan& plan, const std::vector<RankMemory>& memory);
void PrintRankTable(const ShardPlan& plan,
                    const std::vector<RankMemory>& memory);  // to standard error

// What a run did, in all.
struct RunTotals {
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  int64_t decoded_tokens = 0;  // new tokens but for each request's first, which comes with the fold
  int64_t chunks = 0;
  int64_t errors = 0;
  double fold_s = 0.0;
  double decode_s = 0.0;
  int64_t concurrency =
      1;  // requests that may run together; fold_s and decode_s are sums over them
};
// To standard error: tokens, chunks, seconds, rates, and every rank's peak memory.
void PrintRunSummary(const RunTotals& totals, const std::vector<int64_t>& peak_bytes);

// Progress of a fold: a bar on a terminal, elsewhere a line at the start, at the end, and every few
// seconds between.
class Progress {
 public:
  // "WHAT: UNIT 3 of 7, ..."
  explicit Progress(std::string what, std::string unit = "chunk");
  ~Progress();
  // Of n_units, `unit` are done.
  void Update(int64_t unit, int64_t n_units, int64_t tokens_done, int64_t tokens_total);

 private:
  using Clock = std::chrono::steady_clock;
  void EndBar();
  std::string what_;
  std::string unit_;
  bool terminal_;
  bool bar_open_ = false;
  bool line_said_ = false;
  Clock::time_point start_;
  Clock::time_point last_line_;
};

}  // namespace kvfold
