// launcher/commands/commands.h: one function a subcommand; each returns the process's exit code or
// throws an Error that carries it.
#pragma once

#include "launcher/options.h"

namespace kvfold {

int RunCommand(const RunOptions& options);
int ScoreCommand(const ScoreOptions& options);
int BenchCommand(const BenchCommandOptions& options);
int PlanCommand(const PlanOptions& options);
int TokenizeCommand(const TokenizeOptions& options);
int InfoCommand(bool json);

}  // namespace kvfold
