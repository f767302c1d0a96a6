// kvfold: the one executable. Exit codes: docs/design.md, section 4.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

#include "comm/error.h"
#include "launcher/commands/commands.h"
#include "launcher/inheritance.h"
#include "launcher/log_format.h"
#include "launcher/ranks/agreement.h"
#include "launcher/ranks/rank_group.h"
#include "launcher/ranks/stop_signal.h"
#include "models/checkpoint/mapping_faults.h"

namespace {

using namespace kvfold;

void StartLog(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("kvfold");
  logger->set_formatter(MakeLogFormat());
  logger->set_level(RankFromEnvironment() == 0 ? spdlog::level::from_str(level)
                                               : spdlog::level::err);
  spdlog::set_default_logger(std::move(logger));
}

// What all ranks know, rank 0 says. mpirun ends all ranks as soon as one of them has failed: the
// others leave rank 0 the time to speak. One that only has its rank from the process that started
// it may have no rank 0 beside it, and speaks for itself where it has not been ended by then.
int Fail(const std::string& sentence, ErrorCode code) {
  const bool is_first = RankFromEnvironment() == 0;
  if (!is_first) std::this_thread::sleep_for(std::chrono::seconds(3));
  if (is_first || RankIsInherited()) Say(sentence);
  return static_cast<int>(code);
}

// The sentence of a command line that does not parse.
std::string UsageError(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  const bool known = !app.get_subcommands([&](const CLI::App* subcommand) {
                           return subcommand->get_name() == command;
                         })
                          .empty();
  if (known) return fmt::format("{} (kvfold {} --help lists the options)", error.what(), command);
  if (command.empty()) return "a command is missing (kvfold --help lists the commands)";
  if (command.front() == '-') {
    return fmt::format("{} (kvfold --help lists the commands)", error.what());
  }
  return fmt::format("unknown command {} (kvfold --help lists the commands)", command);
}

// Ranks may have been given different command lines: one that does not parse is told to all where
// the command runs on all.
int FailUsage(const std::string& sentence, int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if ((command != "run" && command != "score" && command != "bench") || !StartedUnderMpi()) {
    return Fail(sentence, ErrorCode::kBadInput);
  }
  StartLog(ModelOptions().log_level);
  return WithRanks(command, ModelOptions().step_timeout(), [&](RankGroup& group) -> int {
    RunTogether(group.communicator(), [&] { throw InputError(sentence); });
    return static_cast<int>(ErrorCode::kBadInput);
  });
}

int Main(int argc, char** argv) {
  CLI::App app{"kvfold: folds long texts through a transformer, its KV cache sharded over ranks",
               "kvfold"};
  app.require_subcommand(1);
  app.set_version_flag("--version", KVFOLD_VERSION);
  RunOptions run;
  ScoreOptions score;
  BenchCommandOptions bench;
  PlanOptions plan;
  TokenizeOptions tokenize;
  bool info_json = false;
  CLI::App* const run_app =
      app.add_subcommand("run", "Generate from one prompt or a file of requests");
  CLI::App* const score_app = app.add_subcommand("score", "Log-likelihood of a text");
  CLI::App* const bench_app =
      app.add_subcommand("bench", "Speed and memory beside the machine's ceilings");
  CLI::App* const plan_app =
      app.add_subcommand("plan", "What each rank would hold, before anything is loaded");
  CLI::App* const tokenize_app = app.add_subcommand("tokenize", "Text to token ids");
  CLI::App* const info_app = app.add_subcommand("info", "Version, devices, libraries");
  AddRunOptions(*run_app, run);
  AddScoreOptions(*score_app, score);
  AddBenchOptions(*bench_app, bench);
  AddPlanOptions(*plan_app, plan);
  AddTokenizeOptions(*tokenize_app, tokenize);
  info_app->add_flag("--json", info_json, "One JSON object on standard output");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return RankFromEnvironment() == 0 ? app.exit(success) : 0;
  } catch (const CLI::ParseError& error) {
    return FailUsage(UsageError(app, error, argc, argv), argc, argv);
  }
  StartLog(*run_app     ? run.model.log_level
           : *score_app ? score.model.log_level
           : *bench_app ? bench.model.log_level
                        : plan.model.log_level);
  if (*run_app || *score_app || *bench_app) CatchStopSignals();
  if (*run_app) return RunCommand(run);
  if (*score_app) return ScoreCommand(score);
  if (*bench_app) return BenchCommand(bench);
  if (*plan_app) return PlanCommand(plan);
  if (*tokenize_app) return TokenizeCommand(tokenize);
  return InfoCommand(info_json);
}

}  // namespace

int main(int argc, char** argv) {
  TakeInheritance();
  HandleMappingFaults();
  try {
    const int code = Main(argc, argv);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    return Fail("cannot write standard output", ErrorCode::kFailed);
  } catch (const Error& error) {
    return Fail(error.what(), error.code());
  } catch (const std::exception& error) {
    return Fail(error.what(), ErrorCode::kFailed);
  }
}
