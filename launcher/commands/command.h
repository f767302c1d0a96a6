// launcher/commands/command.h: the subcommands of kvfold.
#pragma once

#include <functional>
#include <span>

namespace CLI {
class App;
}  // namespace CLI

namespace kvfold {

struct Command {
  const char* name;
  const char* summary;
  bool needs_ranks;  // all ranks that mpirun or srun started run it together
  // Adds its options to its subcommand, and returns what runs it once they are parsed: that returns
  // the process's exit code, or throws an Error that carries it.
  std::function<int()> (*bind)(CLI::App& app);
};

std::span<const Command> Commands();

std::function<int()> BindRun(CLI::App& app);
std::function<int()> BindScore(CLI::App& app);
std::function<int()> BindBench(CLI::App& app);
std::function<int()> BindPlan(CLI::App& app);
std::function<int()> BindTokenize(CLI::App& app);
std::function<int()> BindInfo(CLI::App& app);

}  // namespace kvfold
