// kvfold: the one executable. Exit codes: docs/command_line.md.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <thread>

#include "comm/error.h"
#include "launcher/commands/command.h"
#include "launcher/inheritance.h"
#include "launcher/log_format.h"
#include "launcher/options/groups.h"
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

const Command* FindCommand(std::string_view name) {
  const auto found = std::ranges::find(Commands(), name, &Command::name);
  return found == Commands().end() ? nullptr : &*found;
}

// Ranks may have been given different command lines: one that does not parse is told to all where
// the command runs on all.
int FailUsage(const CLI::ParseError& error, std::string_view name) {
  const Command* const command = FindCommand(name);
  std::string sentence;
  if (command != nullptr) {
    sentence = fmt::format("{} (kvfold {} --help lists the options)", error.what(), name);
  } else if (name.empty()) {
    sentence = "a command is missing (kvfold --help lists the commands)";
  } else if (name.front() == '-') {
    sentence = fmt::format("{} (kvfold --help lists the commands)", error.what());
  } else {
    sentence = fmt::format("unknown command {} (kvfold --help lists the commands)", name);
  }
  if (command == nullptr || !command->needs_ranks || !StartedUnderMpi())
    return Fail(sentence, ErrorCode::kBadInput);
  StartLog(kDefaultLogLevel);
  return WithRanks(name, kDefaultStepTimeout, [&](RankGroup& group) -> int {
    RunTogether(group.communicator(), [&] { throw InputError(sentence); });
    return static_cast<int>(ErrorCode::kBadInput);
  });
}

int Main(int argc, char** argv) {
  CLI::App app{"kvfold: folds long texts through a transformer, its KV cache sharded over ranks",
               "kvfold"};
  app.require_subcommand(1);
  app.set_version_flag("--version", KVFOLD_VERSION);
  std::map<std::string_view, std::function<int()>> runs;
  for (const Command& command : Commands())
    runs[command.name] = command.bind(*app.add_subcommand(command.name, command.summary));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return RankFromEnvironment() == 0 ? app.exit(success) : 0;
  } catch (const CLI::ParseError& error) {
    return FailUsage(error, argc > 1 ? argv[1] : "");
  }
  CLI::App& chosen = *app.get_subcommands().front();
  const CLI::Option* const log_level = chosen.get_option_no_throw(kLogLevelOption);
  StartLog(log_level != nullptr && log_level->count() > 0 ? log_level->results().back()
                                                          : kDefaultLogLevel);
  if (FindCommand(chosen.get_name())->needs_ranks) CatchStopSignals();
  return runs.at(chosen.get_name())();
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
