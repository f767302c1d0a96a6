// kvfold: the one executable. Exit codes: docs/design.md, section 4.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>

#include "comm/error.h"
#include "launcher/agreement.h"
#include "launcher/commands.h"
#include "launcher/rank_group.h"

namespace {

using namespace kvfold;

void StartLog(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("kvfold");
  logger->set_pattern("%H:%M:%S %^%l%$ %v");
  logger->set_level(RankFromEnvironment() == 0 ? spdlog::level::from_str(level)
                                               : spdlog::level::err);
  spdlog::set_default_logger(std::move(logger));
}

// One sentence, from the rank that has the floor.
void Say(const std::string& sentence) {
  if (RankFromEnvironment() != 0) return;
  fmt::print(stderr, "kvfold: {}\n", sentence);
  std::fflush(stderr);
}

int Main(int argc, char** argv) {
  CLI::App app{"kvfold: folds long texts through a transformer, its KV cache sharded over ranks",
               "kvfold"};
  app.require_subcommand(1);
  app.set_version_flag("--version", KVFOLD_VERSION);
  RunOptions run;
  ScoreOptions score;
  PlanOptions plan;
  TokenizeOptions tokenize;
  bool info_json = false;
  CLI::App* const run_app =
      app.add_subcommand("run", "Generate from one prompt or a file of requests");
  CLI::App* const score_app = app.add_subcommand("score", "Log-likelihood of a text");
  CLI::App* const plan_app =
      app.add_subcommand("plan", "What each rank would hold, before anything is loaded");
  CLI::App* const tokenize_app = app.add_subcommand("tokenize", "Text to token ids");
  CLI::App* const info_app = app.add_subcommand("info", "Version, devices, libraries");
  AddRunOptions(*run_app, run);
  AddScoreOptions(*score_app, score);
  AddPlanOptions(*plan_app, plan);
  AddTokenizeOptions(*tokenize_app, tokenize);
  info_app->add_flag("--json", info_json, "One JSON object on standard output");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return RankFromEnvironment() == 0 ? app.exit(success) : 0;
  } catch (const CLI::ParseError& error) {
    Say(fmt::format("{} (kvfold {} --help lists the options)", error.what(),
                    argc > 1 ? argv[1] : ""));
    return static_cast<int>(ErrorCode::kBadInput);
  }
  StartLog(*run_app     ? run.model.log_level
           : *score_app ? score.model.log_level
                        : plan.model.log_level);
  if (*run_app) return RunCommand(run);
  if (*score_app) return ScoreCommand(score);
  if (*plan_app) return PlanCommand(plan);
  if (*tokenize_app) return TokenizeCommand(tokenize);
  return InfoCommand(info_json);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const Error& error) {
    Say(error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    Say(error.what());
    return static_cast<int>(ErrorCode::kFailed);
  }
}
