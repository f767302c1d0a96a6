#include "launcher/report.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace kvfold {
namespace {

constexpr auto kLineEvery = std::chrono::seconds(2);

std::string FormatRate(double tokens_per_s) {
  return fmt::format("{:.{}f} tokens/s", tokens_per_s, tokens_per_s < 100.0 ? 1 : 0);
}

std::string FormatRange(Range range) {
  if (range.size() == 0) return "none";
  if (range.size() == 1) return fmt::format("{}", range.begin);
  return fmt::format("{}-{}", range.begin, range.end - 1);
}

// A log that cannot be written, since its reader has gone or the disk is full, ends no job.
void Log(const std::string& text) { std::fputs(text.c_str(), stderr); }

}  // namespace

std::string Count(int64_t n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= (unit == 0 ? 1024.0 : 1023.95) && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : 1, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 0.00995) return fmt::format("{:.1f} ms", seconds * 1000.0);
  if (seconds < 0.0995) return fmt::format("{:.0f} ms", seconds * 1000.0);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string RankTable(const ShardPlan& plan, const std::vector<RankMemory>& memory) {
  constexpr const char* kRow = "{:>4}  {:>11}  {:>8}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}\n";
  std::string table = fmt::format(fmt::runtime(kRow), "rank", "query heads", "KV heads", "weights",
                                  "cache", "workspace", "reserved", "total");
  for (int rank = 0; rank < plan.tp_size(); ++rank) {
    const RankShard& shard = plan.rank(rank);
    const RankMemory& m = memory[static_cast<size_t>(rank)];
    table += fmt::format(fmt::runtime(kRow), rank, FormatRange(shard.query_heads),
                         FormatRange(shard.kv_heads), FormatBytes(m.weights_bytes),
                         FormatBytes(m.cache_bytes), FormatBytes(m.workspace_bytes),
                         FormatBytes(m.reserved_bytes), FormatBytes(m.total_bytes()));
  }
  if (plan.head_imbalance() > 1.0) {
    table += fmt::format(
        "query heads do not divide evenly: the fullest rank has {:.0f} % more than the mean\n",
        (plan.head_imbalance() - 1.0) * 100.0);
  }
  return table;
}

void PrintRankTable(const ShardPlan& plan, const std::vector<RankMemory>& memory) {
  if (spdlog::should_log(spdlog::level::info)) Log(RankTable(plan, memory));
}

std::string Summary(const FoldTotals& totals, int64_t errors,
                    const std::vector<int64_t>& peak_bytes) {
  const auto rate = [](int64_t tokens, double seconds) {
    return tokens == 0 ? std::string("-")
                       : FormatRate(static_cast<double>(tokens) / std::max(seconds, 1e-9));
  };
  std::string text = fmt::format("fold:   {} in {}, {}, {}\n", Count(totals.folded_tokens, "token"),
                                 Count(totals.chunks, "chunk"), FormatSeconds(totals.fold_s),
                                 rate(totals.folded_tokens, totals.fold_s));
  text += fmt::format("decode: {}, {}, {}\n", Count(totals.new_tokens, "token"),
                      FormatSeconds(totals.decode_s), rate(totals.decoded_tokens, totals.decode_s));
  if (totals.shared_tokens > 0) {
    text += fmt::format("shared: {} of the prompts were folded for another request\n",
                        Count(totals.shared_tokens, "token"));
  }
  if (errors > 0) text += fmt::format("errors: {}\n", errors);
  text += "peak memory by rank:";
  for (size_t rank = 0; rank < peak_bytes.size(); ++rank)
    text += fmt::format("{} {}: {}", rank == 0 ? "" : ",", rank, FormatBytes(peak_bytes[rank]));
  return text + "\n";
}

void PrintSummary(const FoldTotals& totals, int64_t errors,
                  const std::vector<int64_t>& peak_bytes) {
  if (spdlog::should_log(spdlog::level::info)) Log(Summary(totals, errors, peak_bytes));
}

Progress::Progress(std::string what, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_line_(start_) {}

Progress::~Progress() { EndBar(); }

void Progress::EndBar() {
  if (bar_open_) Log("\n");
  bar_open_ = false;
}

void Progress::Update(int64_t unit, int64_t n_units, int64_t tokens_done, int64_t tokens_total) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = static_cast<double>(tokens_done) / std::max(seconds, 1e-9);
  const double left = static_cast<double>(tokens_total - tokens_done) / std::max(rate, 1e-9);
  const std::string line =
      fmt::format("{}: {} {} of {}, {} of {} tokens, {}", what_, unit_, unit, n_units, tokens_done,
                  tokens_total, FormatRate(rate)) +
      (tokens_done < tokens_total ? fmt::format(", {} left", FormatSeconds(left)) : "");
  if (terminal_) {
    constexpr int64_t kWidth = 24;
    const auto filled =
        static_cast<size_t>(kWidth * tokens_done / std::max<int64_t>(1, tokens_total));
    Log(fmt::format("\r[{:<{}}] {}\x1b[K", std::string(filled, '='), kWidth, line));
    std::fflush(stderr);
    bar_open_ = true;
    if (unit == n_units) EndBar();
  } else if (!line_said_ || unit == n_units || now - last_line_ >= kLineEvery) {
    line_said_ = true;
    last_line_ = now;
    spdlog::info("{}", line);
  }
}

}  // namespace kvfold
