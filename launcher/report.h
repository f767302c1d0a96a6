// launcher/report.h: what people read on standard error: tables, sizes and progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/fold/scheduler.h"
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

// What people read at the end of a run: tokens, chunks, seconds, rates, what sharing saved, errors,
// and every rank's peak memory.
std::string Summary(const FoldTotals& totals, int64_t errors,
                    const std::vector<int64_t>& peak_bytes);
void PrintSummary(const FoldTotals& totals, int64_t errors,
                  const std::vector<int64_t>& peak_bytes);  // to standard error

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
