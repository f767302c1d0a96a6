// kvfold bench: how fast this machine folds and decodes, beside what it could do at best.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "comm/gather_values.h"
#include "launcher/commands/command.h"
#include "launcher/options/groups.h"
#include "launcher/options/validators.h"
#include "launcher/ranks/memory_use.h"
#include "launcher/ranks/rank_model.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"
#include "runtime/eval/bench.h"

namespace kvfold {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kBeginsAgain =
    "the measurement was not finished; the same command begins again";

struct BenchCommandOptions {
  LoadOptions load;
  bool json = false;
  std::vector<int64_t> tokens = {8192};
  std::vector<int64_t> chunks = {256};
  int64_t decode_tokens = 32;
  int repeats = 3;
  int pretend_ranks = 0;  // 0: the ranks that are there
};

void AddBenchOptions(CLI::App& app, BenchCommandOptions& options) {
  CLI::Option* const model = AddLoadOptions(app, options.load);
  CLI::Option* const random =
      app.add_option("--random-weights", options.load.model.random_weights,
                     "Config (or the name of a shipped one) to make up weights for");
  model->excludes(random);
  RequireOneOf(app, {model, random}, "--model or --random-weights");
  AddOutputOptions(app, options.json);
  app.add_option("--tokens", options.tokens,
                 "Tokens to fold; a list, as 1024,8192, is run one by one")
      ->delimiter(',')
      ->check(Between(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--chunk", options.chunks, "Tokens folded at a time; a list likewise")
      ->delimiter(',')
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--decode-tokens", options.decode_tokens, "Tokens decoded after the last fold")
      ->check(Between(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--repeats", options.repeats, "Counted folds; their median is told")
      ->check(Between(1, 1000))
      ->capture_default_str();
  CLI::Option* const pretend = app.add_option(
      "--pretend-ranks", options.pretend_ranks,
      "Measure rank 0's share of so many ranks; they are not there and nothing is communicated");
  pretend->check(Between(1, 1 << 20));
  for (const char* of_ranks : {"--share-devices", "--transport", "--step-timeout"})
    pretend->excludes(app.get_option(of_ranks));
}

std::vector<Setting> Settings(const BenchCommandOptions& options) {
  return {{"--tokens", fmt::format("{}", fmt::join(options.tokens, ","))},
          {"--chunk", fmt::format("{}", fmt::join(options.chunks, ","))},
          {"--decode-tokens", fmt::format("{}", options.decode_tokens)},
          {"--repeats", fmt::format("{}", options.repeats)}};
}

// One rank's figures of one setting.
struct RankFigures {
  StepTimings fold;
  Ceilings ceilings;
  int64_t decode_bytes =
      0;  // that one decoded token must read: weights, and the cache up to the last folded token
};

struct Setting {
  int64_t tokens;
  int64_t chunk;
};

// Rates of ranks that work at the same time add up.
Json RateObject(double flop_per_s, double ceiling) {
  return {{"gflops", flop_per_s * 1e-9},
          {"ceiling_gflops", ceiling * 1e-9},
          {"fraction", ceiling > 0.0 ? flop_per_s / ceiling : 0.0}};
}

Json Report(const Setting& setting, const BenchResult& result,
            const std::vector<RankFigures>& ranks, const RankModel& model, const MemoryUse& memory,
            int64_t decode_tokens) {
  double linear = 0.0;
  double attention = 0.0;
  double ceiling = 0.0;
  double copy = 0.0;
  int64_t decode_bytes = 0;
  for (const RankFigures& rank : ranks) {
    linear += rank.fold.linear_flop / std::max(rank.fold.linear_s, 1e-12);
    attention += rank.fold.attention_flop / std::max(rank.fold.attention_s, 1e-12);
    ceiling += rank.ceilings.product_flop_per_s;
    copy += rank.ceilings.copy_bytes_per_s;
    decode_bytes += rank.decode_bytes;
  }
  const StepTimings& first = ranks.front().fold;
  Json planned = Json::array();
  for (const RankMemory& rank : model.planned()) planned.push_back(rank.total_bytes());
  Json object = {
      {"tokens", setting.tokens},
      {"chunk", setting.chunk},
      {"ranks", ranks.size()},
      {"fold_s", result.fold_s},
      {"folds_s", result.folds_s},
      {"tokens_per_s", static_cast<double>(setting.tokens) / result.fold_s},
      {"linear", RateObject(linear, ceiling)},
      {"attention", RateObject(attention, ceiling)},
      {"comm_share", first.communication_s / result.fold_s},
      {"breakdown",
       {{"linear_s", first.linear_s},
        {"attention_s", first.attention_s},
        {"communication_s", first.communication_s},
        {"rest_s", result.fold_s - first.linear_s - first.attention_s - first.communication_s}}}};
  if (decode_tokens > 0) {
    const double bytes_per_s = static_cast<double>(decode_bytes) / result.decode_token_s;
    object["decode_tokens_per_s"] = 1.0 / result.decode_token_s;
    object["decode"] = {{"bytes", decode_bytes},
                        {"bytes_per_s", bytes_per_s},
                        {"copy_bytes_per_s", copy},
                        {"fraction", copy > 0.0 ? bytes_per_s / copy : 0.0}};
  }
  object["transport"] = model.device().transport();
  object["device"] = model.device().description();
  object["planned_bytes"] = planned;
  object["peak_bytes"] = memory.resident_peaks;
  if (!memory.device_peaks.empty()) {
    object["device_peak_bytes"] = memory.device_peaks;
    object["device_reserved_bytes"] = memory.device_reserved;
  }
  return object;
}

void Print(const Json& run) {
  const auto rate = [&](const char* name) {
    const Json& r = run.at(name);
    return fmt::format("{:.0f} of {:.0f} GFLOP/s ({:.2f})", r.at("gflops").get<double>(),
                       r.at("ceiling_gflops").get<double>(), r.at("fraction").get<double>());
  };
  const Json& b = run.at("breakdown");
  const bool pretended = run.at("pretended").get<bool>();
  fmt::print("{} tokens, chunk {}, {}{}: {:.3f} s, {:.0f} tokens/s\n",
             run.at("tokens").get<int64_t>(), run.at("chunk").get<int64_t>(),
             pretended ? "the share of one of " : "", Count(run.at("ranks").get<int64_t>(), "rank"),
             run.at("fold_s").get<double>(), run.at("tokens_per_s").get<double>());
  fmt::print("  projections   {:8.3f} s  {}\n", b.at("linear_s").get<double>(), rate("linear"));
  fmt::print("  attention     {:8.3f} s  {}\n", b.at("attention_s").get<double>(),
             rate("attention"));
  if (pretended) {
    fmt::print("  communication is left out\n");
  } else {
    fmt::print("  communication {:8.3f} s\n", b.at("communication_s").get<double>());
  }
  fmt::print("  the rest      {:8.3f} s\n", b.at("rest_s").get<double>());
  if (!run.contains("decode")) return;
  const Json& d = run.at("decode");
  fmt::print(
      "  decode        {:.1f} tokens/s, reading {:.1f} of {:.1f} GB/s that a copy moves ({:.2f})\n",
      run.at("decode_tokens_per_s").get<double>(), d.at("bytes_per_s").get<double>() * 1e-9,
      d.at("copy_bytes_per_s").get<double>() * 1e-9, d.at("fraction").get<double>());
}

// What was measured of a setting: its counted folds, and the tokens decoded after the last.
void Add(FoldTotals& totals, const Setting& setting, const BenchResult& result,
         int64_t decode_tokens) {
  const auto n_folds = static_cast<int64_t>(result.folds_s.size());
  totals.folded_tokens += n_folds * setting.tokens;
  totals.chunks += n_folds * ((setting.tokens + setting.chunk - 1) / setting.chunk);
  totals.new_tokens += decode_tokens;
  totals.decoded_tokens += decode_tokens;
  totals.fold_s += std::accumulate(result.folds_s.begin(), result.folds_s.end(), 0.0);
  totals.decode_s += result.decode_token_s * static_cast<double>(decode_tokens);
}

int Run(RankGroup& group, const BenchCommandOptions& options) {
  RankModel model(group, options.load, Settings(options));
  const int64_t longest = *std::ranges::max_element(options.tokens);
  Session& session =
      model.Load({.tokens = longest + options.decode_tokens,
                  .chunk = std::min(*std::ranges::max_element(options.chunks), longest)});
  StopTogether(group.communicator(), kBeginsAgain);

  FoldTotals totals;
  MemoryUse memory;
  Json runs = Json::array();
  std::set<std::pair<int64_t, int64_t>> done;
  for (const int64_t tokens : options.tokens) {
    for (const int64_t asked : options.chunks) {
      const Setting setting{tokens, std::min(asked, tokens)};
      if (!done.insert({setting.tokens, setting.chunk}).second)
        continue;  // a chunk is the text at most
      const BenchResult result =
          BenchFold(session.engine(),
                    {setting.tokens, setting.chunk, options.decode_tokens, options.repeats, [&] {
                       StopTogether(group.communicator(), kBeginsAgain);
                       // All ranks measure at once: they share the machine as in the fold.
                       group.communicator().Barrier();
                       return session.MeasureCeilings(setting.chunk);
                     }});
      RankFigures mine;
      mine.fold = result.fold;
      mine.decode_bytes = session.DecodeBytes(setting.tokens);
      mine.ceilings = result.ceilings;
      // Of pretended ranks only this one has figures.
      const std::vector<RankFigures> ranks =
          group.pretended() ? std::vector{mine} : GatherValues(group.communicator(), mine);
      Add(totals, setting, result, options.decode_tokens);
      memory = GatherMemoryUse(group, model.device());
      if (group.rank() != 0) continue;
      if (!result.finite) {
        spdlog::warn(
            "the logits are not finite numbers: this is the speed of arithmetic on others");
      }
      runs.push_back(Report(setting, result, ranks, model, memory, options.decode_tokens));
      runs.back()["ranks"] = group.size();
      runs.back()["pretended"] = group.pretended();
      if (!options.json) Print(runs.back());
    }
  }
  if (group.rank() == 0) PrintSummary(totals, /*errors=*/0, memory.peaks());
  if (group.rank() == 0 && options.json) {
    fmt::print("{}\n", runs.size() == 1 ? runs.front().dump() : Json({{"runs", runs}}).dump());
  }
  return 0;
}

}  // namespace

std::function<int()> BindBench(CLI::App& app) {
  const auto options = std::make_shared<BenchCommandOptions>();
  AddBenchOptions(app, *options);
  return [options] {
    return WithRanks(
        "bench", options->load.ranks.step_timeout(),
        [&](RankGroup& group) { return Run(group, *options); }, options->pretend_ranks);
  };
}

}  // namespace kvfold
