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

std::string FormatRange(Range range) {
  if (range.size() == 0) return "none";
  if (range.size() == 1) return fmt::format("{}", range.begin);
  return fmt::format("{}-{}", range.begin, range.end - 1);
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{:.{}f} {}", value, value < 10.0 ? 2 : 1, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 100.0) return fmt::format("{:.1f} s", seconds);
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
  if (spdlog::should_log(spdlog::level::info)) fmt::print(stderr, "{}", RankTable(plan, memory));
}

void PrintRunSummary(const RunTotals& totals, const std::vector<int64_t>& peak_bytes) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  const auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  fmt::print(stderr, "fold:   {} tokens in {} chunks, {}, {:.0f} tokens/s\n", totals.prompt_tokens,
             totals.chunks, FormatSeconds(totals.fold_s),
             rate(totals.prompt_tokens, totals.fold_s));
  // The first new token comes with the fold.
  const int64_t decoded = std::max<int64_t>(0, totals.new_tokens - 1);
  fmt::print(stderr, "decode: {} tokens, {}, {:.1f} tokens/s\n", totals.new_tokens,
             FormatSeconds(totals.decode_s), rate(decoded, totals.decode_s));
  if (totals.errors > 0) fmt::print(stderr, "errors: {}\n", totals.errors);
  fmt::print(stderr, "peak memory by rank:");
  for (size_t rank = 0; rank < peak_bytes.size(); ++rank) {
    fmt::print(stderr, "{} {}: {}", rank == 0 ? "" : ",", rank, FormatBytes(peak_bytes[rank]));
  }
  fmt::print(stderr, "\n");
}

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_line_(start_) {}

Progress::~Progress() { EndBar(); }

void Progress::EndBar() {
  if (bar_open_) fmt::print(stderr, "\n");
  bar_open_ = false;
}

void Progress::Update(int64_t chunk, int64_t n_chunks, int64_t tokens_done, int64_t tokens_total) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = static_cast<double>(tokens_done) / std::max(seconds, 1e-9);
  const double left = static_cast<double>(tokens_total - tokens_done) / std::max(rate, 1e-9);
  const std::string line =
      fmt::format("{}: chunk {} of {}, {} of {} tokens, {:.0f} tokens/s, {} left", what_, chunk,
                  n_chunks, tokens_done, tokens_total, rate, FormatSeconds(left));
  if (terminal_) {
    constexpr int64_t kWidth = 24;
    const auto filled =
        static_cast<size_t>(kWidth * tokens_done / std::max<int64_t>(1, tokens_total));
    fmt::print(stderr, "\r[{:<{}}] {}\x1b[K", std::string(filled, '='), kWidth, line);
    std::fflush(stderr);
    bar_open_ = true;
    if (chunk == n_chunks) EndBar();
  } else if (chunk == 1 || chunk == n_chunks || now - last_line_ >= kLineEvery) {
    last_line_ = now;
    spdlog::info("{}", line);
  }
}

}  // namespace kvfold
